/** Who is not probed learns nothing; who was passed leads nobody; who joins gets nothing that is not for him; nothing is left behind. */
import { existsSync, readdirSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { writeCanonicalRequest } from '../../njs/src/git/canonical.ts'
import { keyOf } from '../../njs/src/git/key.ts'
import { pktLine } from '../../njs/src/git/pkt-line.ts'
import type { LeadOrder, PrepareOrder } from '../../sidecar/src/protocol.ts'
import { git, makeRepository, oidOf, scratch, uploadPack } from '../support/git.ts'
import { pkt } from '../support/job.ts'
import { listen, listenForAll } from '../support/listen.ts'
import { sha256 } from '../support/scope.ts'
import { assemble, orderFor } from '../support/sidecar.ts'
import { FLUSH, fetchOf, pkts, V2, v2 } from '../support/wire.ts'

const work = scratch()
afterAll(work.remove)
const repository = path.join(work.dir, 'upstream.git')
makeRepository(repository, 'sha1')
const MAIN = oidOf(repository, 'main')
const NAME = {
  upstream: 'http://upstream',
  vhost: '',
  repository: '/team/app',
  format: 'sha1' as const,
}
const depth1 = v2([`want ${MAIN}`, 'deepen 1', 'done'])
const clone = v2([`want ${MAIN}`, 'done'])
const said = (body: string) => uploadPack(repository, 2, writeCanonicalRequest(fetchOf(body, V2)))
const RESULT = 'application/x-git-upload-pack-result'

type Answer = (response: ServerResponse, body: string) => unknown
let answers: Answer[] = []
let asked = 0
/** Of questions for tags. */
let tags = FLUSH
const open = new Set<ServerResponse>()
const server = createServer(async (message: IncomingMessage, response) => {
  let body = ''
  for await (const chunk of message) body += chunk
  response.setHeader('content-type', RESULT)
  if (body.includes('command=ls-refs')) {
    response.end(tags)
    return
  }
  open.add(response)
  response.once('close', () => open.delete(response))
  const answer = answers[Math.min(asked, answers.length - 1)]
  asked += 1
  answer?.(response, body)
})
const port = await listenForAll(server)
let count = 0
beforeEach(() => {
  asked = 0
  tags = FLUSH
})
function sidecar(more: Record<string, string[]> = {}) {
  count += 1
  return assemble(`http://127.0.0.1:${port}`, path.join(work.dir, `data-${count}`), more)
}
const leadFor = (body: string): LeadOrder => {
  const { key: _, request, tags: __, maxTags: ___, ...head } = orderFor(body)
  return { ...head, lead: request }
}
const word = (state: Promise<{ state: string; result?: string }>) =>
  state.then(
    (one) => one.result ?? one.state,
    (error) => error.reason ?? error.status ?? String(error)
  )
const good: Answer = (response, body) => response.end(uploadPack(repository, 2, body))
const says =
  (status: number, headers = {}): Answer =>
  (response) =>
    response.writeHead(status, headers).end()
/** As nginx forwards it to upstream, and to us. */
const SPEAKS_V2 = { 'git-protocol': 'version=2' }
/** A head, and words without end. */
const endless =
  (status: number, headers = {}): Answer =>
  (response) =>
    response.writeHead(status, headers).write('x'.repeat(1000))

describe('who was not probed', () => {
  test('is answered by upstream, and the next of the same is probed: upstream is asked once', async () => {
    answers = [(response, body) => setTimeout(() => good(response, body), 200)]
    const one = sidecar()
    const all = await Promise.all(
      [1, 2, 3, 4].map(() => word(one.answers.lead(leadFor(depth1), SPEAKS_V2)))
    )
    expect([asked, all.sort()]).toEqual([1, ['miss', 'probe', 'probe', 'probe']])
  })

  test.each([undefined, '', 'version=1'])(
    'is probed where nginx says Git-Protocol %j to upstream',
    async (said) => {
      const headers = said === undefined ? {} : { 'git-protocol': said }
      expect(await word(sidecar().answers.lead(leadFor(depth1), headers))).toBe('probe')
      expect(asked).toBe(0)
    }
  )

  test('is not told that upstream is shallow', async () => {
    const one = sidecar()
    one.mirrors.setShallow(NAME)
    expect(await word(one.answers.lead(leadFor(depth1), SPEAKS_V2))).toBe('probe')
    expect(await word(one.answers.prepare(orderFor(depth1), {}))).toBe('shallow-upstream')
    expect(asked).toBe(0)
  })

  test('does not wait for the clone of another', async () => {
    const one = sidecar()
    const seed = one.mirrors.adopt(NAME, {} as never)
    const soon = sleep(2000, 'waits')
    expect(await Promise.race([word(one.answers.lead(leadFor(clone), SPEAKS_V2)), soon])).toBe(
      'probe'
    )
    seed?.(null)
  })

  test.each([429, 503])(
    'is probed where upstream says %i, which is not asked again for him',
    async (status) => {
      answers = [says(status)]
      expect(await word(sidecar().answers.lead(leadFor(depth1), SPEAKS_V2))).toBe('probe')
      expect(asked).toBe(1)
    }
  )

  test('is probed at once until an upstream that wants to be left alone has been', async () => {
    answers = [says(429, { 'retry-after': '1' }), good]
    const one = sidecar()
    const lead = () => word(one.answers.lead(leadFor(depth1), SPEAKS_V2))
    expect([await lead(), await lead(), await lead(), asked]).toEqual([
      ...Array(3).fill('probe'),
      1,
    ])
    await sleep(1100)
    expect([await lead(), asked]).toEqual(['miss', 2])
  })

  test('is refused: who was probed leads', async () => {
    answers = [(response) => setTimeout(() => says(403)(response, ''), 200), good]
    const one = sidecar()
    const first = word(one.answers.lead(leadFor(depth1), SPEAKS_V2))
    await sleep(50)
    const others = [1, 2, 3].map(() => word(one.answers.prepare(orderFor(depth1), {})))
    expect(await first).toBe('refused')
    for (const other of await Promise.all(others)) expect(other).toMatch(/^(miss|join|ready)$/)
    expect(asked).toBe(2)
  })
})

test('who was passed meanwhile leads nobody', async () => {
  answers = [
    async (response) => {
      response.write(pktLine('packfile\n'))
      await sleep(2500)
      response.destroy()
    },
  ]
  const one = sidecar({ 'max-wait': ['1'] })
  const all = await Promise.all(
    Array.from({ length: 10 }, () => word(one.answers.prepare(orderFor(depth1), {})))
  )
  expect(all.filter((how) => how === 'slow')).toHaveLength(9)
  await sleep(2500)
  expect(asked).toBe(1)
})

test('a clone that upstream refuses holds up no other', async () => {
  answers = [says(403), good]
  const one = sidecar()
  expect(await word(one.answers.prepare(orderFor(clone), {}))).toBe('refused')
  await sleep(50)
  expect(one.mirrors.making(NAME)).toBeNull()
})

test('a client has his share back when his answers are made', async () => {
  answers = [good]
  const one = sidecar({ 'per-client': ['2'], 'make-mirrors': ['never'] })
  const order = (revision: string) => ({
    ...orderFor(v2([`want ${oidOf(repository, revision)}`, 'deepen 1', 'done'])),
    client: '10.0.0.1',
  })
  const hang: Answer = () => {}
  for (let round = 0; round < 3; round++) {
    answers = [good]
    const one_ = await Promise.all(
      [0, 1].map((i) => word(one.answers.prepare(order(`main~${2 * round + i}`), {})))
    )
    expect(one_).toEqual(['miss', 'miss'])
    await sleep(300)
  }
  answers = [hang]
  const two = ['main~7', 'main~8'].map((revision) => one.answers.prepare(order(revision), {}))
  for (const hanging of two) hanging.catch(() => {})
  await expect.poll(() => open.size).toBe(2)
  expect(await word(one.answers.prepare(order('main~9'), {}))).toBe('client-limit')
  server.closeAllConnections()
})

describe('who joins', () => {
  const request = fetchOf(v2([`want ${MAIN}`, 'deepen 1', 'include-tag', 'done']), V2)
  const before = FLUSH
  const tagged: PrepareOrder = {
    ...orderFor(depth1),
    key: keyOf(sha256, request, before, { ...NAME, path: '/team/app.git' }),
    request: writeCanonicalRequest(request),
    tags: before,
  }

  test('an answer over which the tags have changed: it is not for him, and not stored', async () => {
    answers = [
      (response, body) => {
        const bytes = uploadPack(repository, 2, body)
        response.write(bytes.subarray(0, bytes.length - 4))
        setTimeout(() => response.end(bytes.subarray(bytes.length - 4)), 500)
      },
    ]
    tags = pkts([`${MAIN} refs/tags/new`]) + FLUSH
    const one = sidecar()
    const first = word(one.answers.prepare({ ...tagged }, {}))
    const second = word(one.answers.prepare({ ...tagged }, {}))
    expect([await first, await second]).toEqual(['miss', 'tag-state'])
    await sleep(800)
    expect(await one.store.has(tagged.key)).toBe(false)
  })

  test("hears nothing of the first client's", async () => {
    const hello = pkt(2, Buffer.from('hello alice\n'))
    answers = [
      (response, body) => {
        const bytes = uploadPack(repository, 2, body)
        const at = bytes.indexOf('packfile\n') + 'packfile\n'.length
        const half = bytes.indexOf('PACK') + 30
        response.write(Buffer.concat([bytes.subarray(0, at), hello, bytes.subarray(at, half)]))
        setTimeout(() => response.end(bytes.subarray(half)), 3000)
      },
    ]
    const one = sidecar()
    const to = `http://127.0.0.1:${await listen(one.server)}`
    const order = JSON.stringify({ ...orderFor(depth1), progress: true })
    const read = async () => {
      const told = await (await fetch(`${to}/prepare`, { method: 'POST', body: order })).json()
      const { job, result } = told as { job: string; result: string }
      const stream = await fetch(`${to}/stream/${job}`)
      return { result, text: Buffer.from(await stream.arrayBuffer()).toString('latin1') }
    }
    const [alice, bob] = await Promise.all([read(), sleep(100).then(read)])
    expect([alice.result, bob.result]).toEqual(['miss', 'join'])
    expect([alice.text.includes('alice'), bob.text.includes('alice')]).toEqual([true, false])
    one.server.close()
  })
})

test.each<[what: string, answer: Answer, word: string | number]>([
  ['a refusal', says(403), 'refused'],
  ['a refusal that does not end', endless(403), 'refused'],
  ['429 that does not end', endless(429, { 'retry-after': '60' }), 429],
  ['a page that does not end', endless(200, { 'content-type': 'text/html' }), 'refused'],
  ['an error, and then nothing', (response) => response.write(pktLine('ERR no')), 'refused'],
])('of %s nothing is left: no file, no connection', async (_, answer, reason) => {
  answers = [answer]
  const one = sidecar()
  const told = word(one.answers.prepare(orderFor(depth1), {}))
  const how = await Promise.race([told, sleep(8000, 'waits')])
  expect([reason, 'miss', 'broken-off']).toContain(how)
  await expect.poll(() => readdirSync(one.dirs.tmp), { timeout: 6000 }).toEqual([])
  await expect.poll(() => open.size, { timeout: 6000 }).toBe(0)
})

test('an answer that breaks off leaves no file', async () => {
  answers = [
    (response, body) => {
      response.write(uploadPack(repository, 2, body).subarray(0, 400))
      setTimeout(() => response.destroy(), 100)
    },
  ]
  const one = sidecar()
  await word(one.answers.prepare(orderFor(depth1), {}))
  await expect.poll(() => readdirSync(one.dirs.tmp), { timeout: 6000 }).toEqual([])
})

test('an answer that breaks off before those who wait have any of it: one of them asks again', async () => {
  const half: Answer = (response, body) => {
    response.write(uploadPack(repository, 2, body).subarray(0, -40))
    setTimeout(() => response.destroy(), 300)
  }
  answers = [half, good]
  const one = sidecar({ 'make-mirrors': ['never'] })
  const all = await Promise.all(
    Array.from({ length: 6 }, () => word(one.answers.prepare(orderFor(depth1), {})))
  )
  expect([asked, all.filter((how) => how === 'miss').length]).toEqual([2, 2])
})

test.each(['done', 'deepen 2147483647'])(
  'an upstream that is itself shallow: %s is neither shared nor stored',
  async (line) => {
    const shallow = path.join(work.dir, 'shallow.git')
    if (!existsSync(shallow))
      git(['clone', '-q', '--bare', '--depth', '2', `file://${repository}`, shallow])
    answers = [
      (response, body) => {
        const bytes = uploadPack(shallow, 2, body)
        response.write(bytes.subarray(0, -4))
        setTimeout(() => response.end(bytes.subarray(-4)), 300)
      },
    ]
    const one = sidecar()
    const order = orderFor(v2([`want ${MAIN}`, ...(line === 'done' ? [] : [line]), 'done']))
    const all = await Promise.all([1, 2].map(() => word(one.answers.prepare(order, {}))))
    expect(all).toEqual(['miss', 'shallow-upstream'])
    await sleep(500)
    expect(await one.store.has(order.key)).toBe(false)
    await expect(one.mirrors.find(NAME)).rejects.toMatchObject({ reason: 'shallow-upstream' })
  }
)

test('what depends on the clock is shared and not stored', async () => {
  answers = [good]
  const one = sidecar()
  const order = orderFor(v2([`want ${MAIN}`, 'deepen-since 1700500000', 'done']))
  expect(await word(one.answers.prepare(order, {}))).toBe('miss')
  await sleep(500)
  expect(await one.store.has(order.key)).toBe(false)
  expect(readdirSync(one.dirs.tmp)).toEqual([])
})

test('an answer that lacks what is wanted is not stored', async () => {
  // A sound pack of another commit.
  const other = v2([`want ${oidOf(repository, 'side')}`, 'deepen 1', 'done'])
  for (const [body, instead] of [
    [depth1, other],
    [clone, v2([`want ${oidOf(repository, 'side')}`, 'done'])],
  ] as const) {
    answers = [(response) => response.end(said(instead))]
    const one = sidecar()
    const order = orderFor(body)
    expect(await word(one.answers.prepare(order, {}))).toBe('miss')
    await sleep(1500)
    expect(await one.store.has(order.key)).toBe(false)
  }
})

test.each<[what: string, lines: string[]]>([
  ['for who has something', [`have ${oidOf(repository, 'main~3')}`]],
  ['without the commits that would tell its depth', ['deepen 3', 'filter object:type=blob']],
])('a cold answer %s is shared, and not stored', async (_, lines) => {
  answers = [good]
  const one = sidecar({ 'make-mirrors': ['never'] })
  const order = orderFor(v2([`want ${MAIN}`, ...lines, 'done']))
  expect(await word(one.answers.prepare(order, {}))).toBe('miss')
  await sleep(700)
  expect([asked, await one.store.has(order.key), readdirSync(one.dirs.tmp)]).toEqual([1, false, []])
})

test.each([
  ['a checkout', ['deepen 1']],
  ['a clone', []],
])(
  '%s from before the newest tag of what is wanted is not stored for a moment',
  async (_, lines) => {
    // As of an upstream with a cache of packs: its tags are right, its pack is older.
    const without = said(v2([`want ${MAIN}`, ...lines, 'done']))
    answers = [(response) => response.end(without)]
    const newest = git([
      '--git-dir',
      repository,
      '-c',
      'user.name=a',
      '-c',
      'user.email=a@b',
      'tag',
      '-a',
      '-m',
      'n',
      'newest',
      MAIN,
    ])
    expect(newest).toBe('')
    tags = pkts([`${oidOf(repository, 'newest')} refs/tags/newest peeled:${MAIN}`]) + FLUSH
    const request = fetchOf(v2([`want ${MAIN}`, ...lines, 'include-tag', 'done']), V2)
    const key = keyOf(sha256, request, tags, { ...NAME, path: '/team/app.git' })
    const order = { ...orderFor(depth1), key, request: writeCanonicalRequest(request), tags }
    const one = sidecar({ 'make-mirrors': ['never'] })
    expect(await word(one.answers.prepare(order, {}))).toBe('miss')
    await sleep(1500)
    expect(await one.store.has(key)).toBe(false)
    git(['--git-dir', repository, 'tag', '-d', 'newest'])
  }
)
