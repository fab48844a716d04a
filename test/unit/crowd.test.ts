/** A crowd that waits for something slow, or meets one mishap of upstream: it becomes no crowd of passes. */
import { createServer, type ServerResponse } from 'node:http'
import { createServer as createNetServer } from 'node:net'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { pktLine } from '../../njs/src/git/pkt-line.ts'
import { writeTagsRequest } from '../../njs/src/git/tag-state.ts'
import { endAllGit } from '../../sidecar/src/git.ts'
import { openLargeRequests } from '../../sidecar/src/large-request.ts'
import { Pass, type PrepareOrder } from '../../sidecar/src/protocol.ts'
import { fetchFromUpstream } from '../../sidecar/src/upstream-http.ts'
import { makeRepository, oidOf, scratch, uploadPack } from '../support/git.ts'
import { listenForAll } from '../support/listen.ts'
import { assemble, orderFor } from '../support/sidecar.ts'
import { v2 } from '../support/wire.ts'

const CLIENTS = 20
/** Seconds: all pass after so many, and after so many something is done about it. */
const MAX_WAIT = 8
const COMMIT_AFTER = 1

const work = scratch()
afterAll(() => {
  endAllGit()
  work.remove()
})
const repository = path.join(work.dir, 'upstream.git')
makeRepository(repository, 'sha1')
const main = oidOf(repository, 'main')
const depth = (n: number) => v2([`want ${main}`, `deepen ${n}`, 'done'])
const clone = v2([`want ${main}`, 'done'])

type Answer = (response: ServerResponse, answer: Buffer, time: number) => unknown
const good: Answer = (response, answer) => response.end(answer)
let onPack = good
let onTags = good
let packs = 0
let tagsAsked = 0
/** What a `git fetch` asks first is not answered: a mirror is on its way for as long as that is waited for. */
const server = createServer(async (message, response) => {
  const chunks: Buffer[] = []
  for await (const chunk of message) chunks.push(chunk as Buffer)
  if (message.method === 'GET') return
  const body = Buffer.concat(chunks)
  response.setHeader('content-type', 'application/x-git-upload-pack-result')
  const answer = uploadPack(repository, 2, body)
  if (body.includes('ls-refs')) onTags(response, answer, ++tagsAsked)
  else onPack(response, answer, ++packs)
})
const port = await listenForAll(server)

let count = 0
beforeEach(() => {
  packs = 0
  tagsAsked = 0
  onPack = good
  onTags = good
})

function sidecar() {
  count += 1
  return assemble(`http://127.0.0.1:${port}`, path.join(work.dir, `data-${count}`), {
    'max-wait': [String(MAX_WAIT)],
    'commit-after': [String(COMMIT_AFTER)],
  })
}
type Sidecar = ReturnType<typeof sidecar>

async function ask({ answers }: Sidecar, order: PrepareOrder): Promise<string> {
  return answers.prepare({ ...order }, {}).then(
    (state) => (state.state === 'stream' ? state.result : state.state),
    (error) => (error instanceof Pass ? `pass ${error.reason}` : String(error))
  )
}

/** How many of the crowd were answered by us, and how many packs upstream has made for it. */
async function crowd(
  one: Sidecar,
  order: PrepareOrder
): Promise<[answered: number, packs: number]> {
  packs = 0
  const all = await Promise.all(Array.from({ length: CLIENTS }, () => ask(one, order)))
  return [all.filter((word) => !word.startsWith('pass')).length, packs]
}

/** Two misses of a repository: its mirror is begun, or waits for a place. */
async function beginMirror(one: Sidecar, name: string): Promise<void> {
  for (const n of [1, 2]) await ask(one, orderFor(depth(n), null, name))
}

describe('full clones', () => {
  test('while the mirrors of others are on their way', async () => {
    const one = sidecar()
    for (const name of ['/a.git', '/b.git', '/c.git']) await beginMirror(one, name)
    const begun = Date.now()
    expect(await crowd(one, orderFor(clone, null, '/c.git'))).toEqual([CLIENTS, 1])
    // At once, and it becomes the mirror.
    expect(Date.now() - begun).toBeLessThan(MAX_WAIT * 500)
  })

  test('while its own is on its way', async () => {
    const one = sidecar()
    await beginMirror(one, '/c.git')
    await expect.poll(() => one.mirrors.making(orderName('/c')) !== null).toBe(true)
    expect(await crowd(one, orderFor(clone, null, '/c.git'))).toEqual([CLIENTS, 1])
  })

  test('while another clone is, slowly', async () => {
    onPack = (response, answer) => response.write(answer.subarray(0, answer.length - 100))
    const one = sidecar()
    expect(await ask(one, orderFor(clone))).toBe('miss')
    onPack = good
    const other = v2([`want ${oidOf(repository, 'side')}`, 'done'])
    expect(await crowd(one, orderFor(other))).toEqual([CLIENTS, 1])
  })
})

function orderName(repository: string) {
  return { upstream: 'http://upstream', vhost: '', repository, format: 'sha1' as const }
}

test.each([
  ['full clones', clone],
  ['depth 1', depth(1)],
])('%s, while upstream counts for longer than anyone waits', async (_, body) => {
  onPack = async (response, answer) => {
    const pack = answer.indexOf('packfile\n') + 'packfile\n'.length
    response.write(answer.subarray(0, pack))
    for (let i = 0; i < MAX_WAIT * 2 + 2; i++) {
      await sleep(500)
      response.write(pktLine(`\x02Counting objects: ${i}\r`))
    }
    response.end(answer.subarray(pack))
  }
  expect(await crowd(sidecar(), orderFor(body))).toEqual([CLIENTS, 1])
})

describe('one mishap', () => {
  test('upstream does not say its tags', async () => {
    onTags = (response, answer, time) =>
      time === 1 ? response.writeHead(503).end() : response.end(answer)
    const tags = uploadPack(repository, 2, writeTagsRequest('sha1')).toString()
    const body = v2(['include-tag', `want ${main}`, 'deepen 1', 'done'])
    expect(await crowd(sidecar(), orderFor(body, tags))).toEqual([CLIENTS, 1])
  })

  test('upstream closes after its head', async () => {
    onPack = async (response, answer, time) => {
      if (time === 1) {
        response.flushHeaders()
        await sleep(100)
        response.destroy()
      } else response.end(answer)
    }
    // Who led passes.
    expect(await crowd(sidecar(), orderFor(depth(1)))).toEqual([CLIENTS - 1, 2])
  })
})

test('a purge ends a mirror in the making', async () => {
  const one = sidecar()
  await beginMirror(one, '/c.git')
  await expect.poll(() => one.mirrors.making(orderName('/c')) !== null).toBe(true)
  await sleep(500)
  const making = one.mirrors.making(orderName('/c'))
  expect(await one.mirrors.purge('/c')).toBe(1)
  expect(await making).toBe('failed')
})

test.each([
  ['closes', (end: () => void) => end()],
  ['is silent', () => {}],
])('a proxy that %s: one connection for each try, and an end', async (_, act) => {
  let connections = 0
  const proxy = createNetServer((socket) => {
    connections += 1
    socket.on('error', () => {})
    socket.once('data', () => act(() => socket.end()))
  })
  const to = await listenForAll(proxy)
  const upstream = {
    name: `http://by-proxy-${to}`,
    url: 'http://upstream.invalid',
    proxy: `http://127.0.0.1:${to}`,
  }
  const fetch = { body: '0000', family: 2, beginWithin: 1000, stallAfter: 1000 } as const
  await expect(fetchFromUpstream(upstream, '/a.git', {}, fetch)).rejects.toThrow(/proxy/)
  expect(connections).toBe(1)
})

test('large requests take turns, and no client has them all', async () => {
  const { config } = sidecar()
  let reading = 0
  let most = 0
  const never = { prepare: async () => ({ state: 'ready', key: '' }) as const }
  const large = openLargeRequests({ ...config, queueLength: 4 }, never as never)
  const who = {
    secret: '',
    upstream: 'http://upstream',
    vhost: '',
    path: '/a.git',
    id: '',
    client: 'x',
  }
  const body = clone
  const one = async () => {
    const { job } = large.ticket({ ...who, maxTags: 0 }) as { job: string }
    async function* sent() {
      reading += 1
      most = Math.max(most, reading)
      await sleep(50)
      yield Buffer.from(body)
      reading -= 1
    }
    const message = Object.assign(sent(), { headers: { 'git-protocol': 'version=2' } })
    return large
      .receive(job, message as never)
      .then((received) => received.release())
      .catch((error: Pass) => error.reason)
  }
  const all = await Promise.all(Array.from({ length: 10 }, one))
  expect([most, all.filter((word) => word === 'busy').length]).toEqual([4, 2])
})
