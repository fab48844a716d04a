/** Many who want the same of an upstream that refuses, breaks off or is overloaded: how often it is asked, and what each is told. */
import { createServer, type ServerResponse } from 'node:http'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeEach, expect, test } from 'vitest'
import { writeCanonicalRequest } from '../../njs/src/git/canonical.ts'
import { pktLine } from '../../njs/src/git/pkt-line.ts'
import { Overloaded, Pass } from '../../sidecar/src/protocol.ts'
import { makeRepository, oidOf, scratch, uploadPack } from '../support/git.ts'
import { listen, listenForAll } from '../support/listen.ts'
import { assemble, orderFor } from '../support/sidecar.ts'
import { fetchOf, V2, v2 } from '../support/wire.ts'

const CLIENTS = 20

const work = scratch()
afterAll(work.remove)
const repository = path.join(work.dir, 'upstream.git')
makeRepository(repository, 'sha1')
const depth1 = v2([`want ${oidOf(repository, 'main')}`, 'deepen 1', 'done'])
const whole = uploadPack(repository, 2, writeCanonicalRequest(fetchOf(depth1, V2)))

type Answer = (response: ServerResponse) => unknown
let answers: Answer[] = []
let asked = 0
/** The last of the answers for all that come after it. */
const server = createServer((message, response) => {
  const answer = answers[Math.min(asked, answers.length - 1)]
  asked += 1
  message.resume()
  response.setHeader('content-type', 'application/x-git-upload-pack-result')
  answer?.(response)
})
const port = await listenForAll(server)

let count = 0
beforeEach(() => {
  asked = 0
})

function sidecar(options = {}) {
  count += 1
  return assemble(`http://127.0.0.1:${port}`, path.join(work.dir, `data-${count}`), options)
}

/** What all are told, each with how many were. */
async function told({ answers }: ReturnType<typeof sidecar>): Promise<Record<string, number>> {
  const order = orderFor(depth1)
  const words = await Promise.all(
    Array.from({ length: CLIENTS }, () =>
      answers.prepare(order, {}).then(
        (state) => (state.state === 'stream' ? state.result : state.state),
        (error) => {
          if (error instanceof Pass) return error.reason
          return error instanceof Overloaded ? `${error.status} ${error.retryAfter}` : String(error)
        }
      )
    )
  )
  const counted: Record<string, number> = {}
  for (const word of words) counted[word] = (counted[word] ?? 0) + 1
  return counted
}

const good: Answer = (response) => response.end(whole)
/** After so much was said, none of it of the pack. */
const breaksOff =
  (...said: string[]): Answer =>
  async (response) => {
    for (const packet of ['packfile\n', ...said]) response.write(pktLine(packet))
    await sleep(200)
    response.destroy()
  }
const says =
  (status: number, headers: Record<string, string> = {}): Answer =>
  (response) =>
    response.writeHead(status, headers).end()

test.each([
  ['before a word of the pack', [breaksOff(), good]],
  ['while it counts', [breaksOff('\x02Counting objects: 1'), good]],
])('upstream breaks off %s: one of those who wait asks again, for all', async (_, given) => {
  answers = given
  const { miss = 0, join = 0, ready = 0 } = await told(sidecar())
  expect([asked, miss + join + ready]).toEqual([2, CLIENTS])
})

test('it breaks off twice: who waits is passed, and it is not asked once for each', async () => {
  answers = [breaksOff()]
  const all = await told(sidecar())
  expect([asked, all]).toEqual([2, { miss: 2, 'broken-off': CLIENTS - 2 }])
})

test.each([
  ['by a status', says(403), ['GITCACHE_UNREACHABLE', 'GITCACHE_UNREACHABLE']],
  [
    'by an encoding',
    says(200, { 'content-encoding': 'gzip' }),
    ['GITCACHE_UNREACHABLE', 'GITCACHE_UNREACHABLE'],
  ],
  ['by a packet', (response: ServerResponse) => response.end(pktLine('ERR no')), []],
  ['by nothing', says(200), []],
])(
  'upstream refuses the sidecar what it granted nginx, %s: twice, and then all pass',
  async (_, answer, faults) => {
    answers = [answer]
    const one = sidecar()
    const { miss = 0, refused } = await told(one)
    expect([asked, miss + Number(refused)]).toEqual([2, CLIENTS])
    expect(one.faults).toEqual(faults)
  }
)

test('a packet that says no is for him who was told it: the next one leads', async () => {
  answers = [(response) => response.end(pktLine('ERR no')), good]
  const all = await told(sidecar())
  const { refused = 0, miss = 0, join = 0, ready = 0 } = all
  expect([asked, refused, miss + join + ready], JSON.stringify(all)).toEqual([2, 1, CLIENTS - 1])
})

test('upstream breaks off in words and keeps the connection: nobody waits for its end', async () => {
  answers = [
    (response) => {
      response.write(pktLine('packfile\n') + pktLine('\x03no memory'))
    },
  ]
  const begun = Date.now()
  const { miss, 'broken-off': passed } = await told(sidecar())
  expect([miss, passed, Date.now() - begun < 20_000]).toEqual([1, CLIENTS - 1, true])
}, 30_000)

test.each([
  ['a minute', '60', { '429 60': CLIENTS }, 2],
  ['a second', '1', { '429 1': CLIENTS }, 3],
])('upstream wants to be left alone for %s: all are told so', async (_, after, all, times) => {
  answers = [says(429, { 'retry-after': after })]
  const one = sidecar()
  expect([await told(one), asked]).toEqual([all, times])
})

test('upstream says nothing: all are told 504, and it is asked twice', async () => {
  answers = [() => {}]
  const one = sidecar({ 'max-wait': ['8'] })
  expect([await told(one), asked]).toEqual([{ '504 ': CLIENTS }, 2])
}, 30_000)

test.each([401, 403, 404])('%i to the first: the next leads', async (status) => {
  answers = [says(status), good]
  const one = sidecar()
  const words = await told(one)
  expect([words.refused, words.miss, asked]).toEqual([1, 1, 2])
  expect((words.ready ?? 0) + (words.join ?? 0)).toBe(CLIENTS - 2)
})

test.each([429, 503, 504])('%i to one of them is his own: the next has it made', async (status) => {
  answers = [says(status), says(status), good]
  const one = sidecar()
  const words = await told(one)
  expect([words[`${status} `], asked]).toEqual([1, 3])
  expect((words.miss ?? 0) + (words.ready ?? 0) + (words.join ?? 0)).toBe(CLIENTS - 1)
})

test('what is purged while upstream answers is no fault', async () => {
  answers = [
    (response) => {
      response.write(whole.subarray(0, whole.indexOf('PACK') + 10))
    },
  ]
  const one = sidecar()
  const state = await one.answers.prepare(orderFor(depth1), {})
  expect(state).toMatchObject({ state: 'stream', result: 'miss' })
  expect(one.jobs.abort('/team/app')).toBe(1)
  await sleep(100)
  expect(one.faults).toEqual([])
})

test('who was told where the answer is may come for it while we drain, and nobody else', async () => {
  answers = [good]
  const one = sidecar()
  const to = `http://127.0.0.1:${await listen(one.server)}`
  const body = JSON.stringify(orderFor(depth1))
  const state = await (await fetch(`${to}/prepare`, { method: 'POST', body })).json()
  expect(one.jobs.areAwaited()).toBe(true)
  one.state.draining = true
  const late = await (await fetch(`${to}/prepare`, { method: 'POST', body })).json()
  expect(late).toEqual({ state: 'pass', reason: 'sidecar' })
  const stream = await fetch(`${to}/stream/${(state as { job: string }).job}`)
  expect(Buffer.from(await stream.arrayBuffer()).equals(whole)).toBe(true)
  expect(one.jobs.areAwaited()).toBe(false)
  one.server.close()
})
