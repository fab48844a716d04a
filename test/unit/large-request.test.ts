/** Requests that the sidecar reads itself: whom it asks, and what it remembers. */
import { createServer, type IncomingHttpHeaders, type IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { expect, test } from 'vitest'
import type { Answers } from '../../sidecar/src/answers.ts'
import type { Config } from '../../sidecar/src/config.ts'
import { openLargeRequests } from '../../sidecar/src/large-request.ts'
import { listenForAll } from '../support/listen.ts'
import { oid, V2, v2 } from '../support/wire.ts'

let status = 200
let asked: IncomingHttpHeaders = {}
const server = createServer((request, response) => {
  asked = request.headers
  response.writeHead(status).end()
})
const port = await listenForAll(server)
const upstream = { name: 'http://test', url: `http://127.0.0.1:${port}` }

/** The reason why a request passes. */
async function passed(more: IncomingHttpHeaders = {}): Promise<string> {
  const config = { upstreams: [upstream], maxBody: 1 << 20 } as unknown as Config
  const large = openLargeRequests(config, {} as Answers)
  const who = { secret: '', upstream: upstream.name, vhost: '', path: '/a.git', id: '', client: '' }
  const { job } = large.ticket({ ...who, maxTags: 5000 }) as { job: string }
  const body = Readable.from([Buffer.from(v2([`want ${oid(1)}`, 'done']))])
  const message = Object.assign(body, { headers: { 'git-protocol': V2, ...more } })
  const received = await large.receive(job, message as unknown as IncomingMessage)
  const error = await large.answer(received).catch((thrown) => thrown)
  return error.reason
}

test.each([
  ['overloaded', 429],
  ['refused', 401],
  ['no-answer', 503],
])('%s: upstream says %i', async (reason, code) => {
  status = code
  expect(await passed()).toBe(reason)
})

test('upstream sees who asks, as it does of requests that njs reads', async () => {
  const own = {
    authorization: 'Basic eDp5',
    'user-agent': 'git/2.47.3',
    accept: 'application/x-git-upload-pack-result',
    'accept-language': 'de-DE, *;q=0.9',
    pragma: 'no-cache',
    'x-real-ip': '10.0.0.9',
  }
  await passed({ ...own, 'accept-encoding': 'zstd' })
  expect(asked).toMatchObject({ ...own, 'git-protocol': V2 })
  expect(asked).not.toHaveProperty('accept-encoding')
})
