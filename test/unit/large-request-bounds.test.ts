/** Requests that the sidecar reads itself: a yes that grows old, tickets, and bodies that are too large. */
import { createServer, type IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { gzipSync } from 'node:zlib'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { SERVICE } from '../../njs/src/git/classify.ts'
import { NAK } from '../../njs/src/git/probe.ts'
import type { Answers } from '../../sidecar/src/answers.ts'
import type { Config } from '../../sidecar/src/config.ts'
import { openLargeRequests } from '../../sidecar/src/large-request.ts'
import type { PrepareOrder } from '../../sidecar/src/protocol.ts'
import { listenForAll } from '../support/listen.ts'
import { FLUSH, oid, pkts, V2, v2 } from '../support/wire.ts'

/** What upstream says to each probe and to each question for tags, in turn. */
let probes: string[] = []
let tags: string[] = []
const server = createServer(async (message, response) => {
  let body = ''
  for await (const chunk of message) body += chunk
  const said = body.includes('command=ls-refs') ? tags.shift() : probes.shift()
  response.setHeader(
    'content-type',
    message.method === 'GET' ? SERVICE.advertisedType : SERVICE.answerType
  )
  response.writeHead(said === undefined ? 403 : 200).end(said ?? '')
})
const port = await listenForAll(server)
const upstream = { name: 'http://test', url: `http://127.0.0.1:${port}` }
const who = {
  secret: '',
  upstream: upstream.name,
  vhost: '',
  path: '/a.git',
  id: '',
  client: '',
  maxTags: 9,
}
afterEach(() => void vi.useRealTimers())

/** `seconds`: how long the answer takes to be made. */
function open(seconds: number, maxBody = 1 << 20) {
  const orders: PrepareOrder[] = []
  const answers = {
    prepare: async (order: PrepareOrder) => {
      orders.push(order)
      vi.setSystemTime(Date.now() + seconds * 1000)
      return { state: 'ready', key: order.key }
    },
  } as unknown as Answers
  const config = { upstreams: [upstream], maxBody, queueLength: 10 } as unknown as Config
  const large = openLargeRequests(config, answers)
  const receive = (body: string | Buffer, headers = {}, job = ticket()) => {
    const message = Object.assign(Readable.from([Buffer.from(body)]), {
      headers: { 'git-protocol': V2, ...headers },
    })
    return large.receive(job, message as unknown as IncomingMessage)
  }
  const ticket = () => (large.ticket(who) as { job: string }).job
  return { large, receive, ticket, orders }
}

describe('a yes that has grown old while the answer was made', () => {
  const PLAIN = v2([`want ${oid(1)}`, 'done'])
  const TAGGED = v2([`want ${oid(1)}`, 'include-tag', 'done'])
  const HAVES = v2([`want ${oid(1)}`, `have ${oid(2)}`, `have ${oid(3)}`, 'done'])
  const acks = (...digits: number[]) =>
    pkts(['acknowledgments', ...digits.map((digit) => `ACK ${oid(digit)}`)]) + FLUSH
  const NEW = pkts([`${oid(7)} refs/tags/new`]) + FLUSH

  async function answered(seconds: number, body: string, yes: string[], refs: string[] = []) {
    vi.useFakeTimers({ toFake: ['Date'] })
    probes = yes
    tags = refs
    const { large, receive } = open(seconds)
    return large.answer(await receive(body)).then(
      ({ state }) => state,
      ({ reason }) => reason
    )
  }

  test('young, it is not asked again', async () => {
    expect(await answered(29, PLAIN, [NAK])).toBe('ready')
  })

  test('given again, the answer is served', async () => {
    expect(await answered(31, PLAIN, [NAK, NAK])).toBe('ready')
  })

  test.each([
    ['taken back', PLAIN, [NAK, '003bERR upload-pack: not our ref x'], [], 'refused'],
    ['with other tags', TAGGED, [NAK, NAK], [FLUSH, NEW], 'stale'],
    ['of fewer haves', HAVES, [acks(2, 3), acks(2)], [], 'stale'],
  ])('%s: passed', async (_, body, yes, refs, reason) => {
    expect(await answered(31, body, yes, refs)).toBe(reason)
  })
})

test('only the haves that upstream acknowledged are in the order', async () => {
  probes = [pkts(['acknowledgments', `ACK ${oid(3)}`]) + FLUSH]
  const { large, receive, orders } = open(0)
  await large.answer(
    await receive(v2([`want ${oid(1)}`, `have ${oid(2)}`, `have ${oid(3)}`, 'done']))
  )
  expect(orders[0]?.request).toContain(oid(3))
  expect(orders[0]?.request).not.toContain(oid(2))
})

test('a ticket is good once', async () => {
  const { receive, ticket } = open(0)
  const job = ticket()
  const body = v2([`want ${oid(1)}`, 'done'])
  await receive(body, {}, job)
  await expect(receive(body, {}, job)).rejects.toMatchObject({ reason: 'sidecar' })
})

test.each([
  ['plain', Buffer.alloc(70_000), {}, 'body-size'],
  ['that inflates', gzipSync(Buffer.alloc(70_000)), { 'content-encoding': 'gzip' }, 'gzip'],
  [
    'of many lines',
    Buffer.from(v2([`want ${oid(1)}`, ...Array(3000).fill('done')])),
    {},
    'too-many-lines',
  ],
])('a body that is too large, %s', async (_, body, headers, reason) => {
  const { receive } = open(0, 1 << 16)
  await expect(receive(body, headers)).rejects.toMatchObject({ reason })
})
