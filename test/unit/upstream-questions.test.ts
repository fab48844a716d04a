/** Upstream's answers to questions: not without bound, not without end, and none of it a redirect; certificates that are renewed. */

import { mkdtempSync, utimesSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import { afterAll, afterEach, expect, test, vi } from 'vitest'
import { SERVICE } from '../../njs/src/git/classify.ts'
import { askKept, askUpstream, fetchFromUpstream } from '../../sidecar/src/upstream-http.ts'
import { scratch } from '../support/git.ts'
import { listenForAll } from '../support/listen.ts'

const work = scratch()
afterAll(work.remove)
afterEach(() => void vi.useRealTimers())
let answer: (response: ServerResponse, request: IncomingMessage) => unknown = () => {}
const server = createServer((request, response) => {
  request.resume()
  response.setHeader('content-type', SERVICE.answerType)
  answer(response, request)
})
const port = await listenForAll(server)
const upstream = { name: 'http://test', url: `http://127.0.0.1:${port}` }
const asked = () => askUpstream(upstream, '/a.git', {}, 10)

test('an answer of more than 4 MB is none', async () => {
  let sent = 0
  answer = async (response) => {
    while (!response.destroyed && sent < 64) {
      sent += 1
      response.write(Buffer.alloc(1024 * 1024, '0'))
      await sleep(2)
    }
    response.end()
  }
  expect(await asked().lsRefs('0000')).toBeNull()
  expect(sent).toBeLessThan(64)
})

test('nor one that inflates to more', async () => {
  const bomb = gzipSync(Buffer.alloc(32 * 1024 * 1024, '0'))
  answer = (response) => response.writeHead(200, { 'content-encoding': 'gzip' }).end(bomb)
  expect(await asked().lsRefs('0000')).toBeNull()
  const small = gzipSync('0000')
  answer = (response) => response.writeHead(200, { 'content-encoding': 'gzip' }).end(small)
  expect(await asked().lsRefs('0000')).toBe('0000')
  answer = (response) => response.writeHead(200, { 'content-encoding': 'deflate' }).end(small)
  expect(await asked().lsRefs('0000')).toBeNull()
})

test('nor one without end, however busy it is', async () => {
  const timeout = vi.spyOn(AbortSignal, 'timeout')
  timeout.mockImplementation((milliseconds) => {
    expect(milliseconds).toBe(30_000)
    const controller = new AbortController()
    setTimeout(() => controller.abort(), 300)
    return controller.signal
  })
  answer = async (response) => {
    while (!response.destroyed) {
      response.write('0')
      await sleep(20)
    }
  }
  const said = Promise.race([asked().probe('0000'), sleep(3000, 'hangs')])
  expect(await said).toBe(504)
  timeout.mockRestore()
})

test.each([301, 302, 304, 206])('%i is no 200', async (status) => {
  answer = (response) => response.writeHead(status, { location: '/b.git' }).end()
  expect(await asked().probe('0000')).toBe(status)
})

test.each(['text/plain', SERVICE.contentType, ''])(
  'a 200 of type "%s" is none of git\'s',
  async (type) => {
    answer = (response) => response.setHeader('content-type', type).end('0000')
    const { probe, lsRefs, advertisement } = asked()
    expect([await probe('0000'), await lsRefs('0000'), await advertisement()]).toEqual([
      null,
      null,
      null,
    ])
  }
)

test('a type with parameters is the same', async () => {
  const type = `${SERVICE.answerType.toUpperCase()}; charset=utf-8`
  answer = (response) => response.setHeader('content-type', type).end('0000')
  expect(await asked().probe('0000')).toBe('0000')
})

test('an advertisement has a type of its own', async () => {
  answer = (response) => response.end('0000')
  expect(await asked().advertisement()).toBeNull()
  answer = (response) => response.setHeader('content-type', SERVICE.advertisedType).end('0000')
  expect(await asked().advertisement()).not.toBeNull()
})

test('what upstream cannot know is another id each time', () => {
  const ids = Array.from({ length: 10 }, () => asked().unknownOid(40))
  expect(new Set(ids).size).toBe(10)
  expect(ids.every((id) => /^[0-9a-f]{40}$/.test(id))).toBe(true)
})

test('an answer that stalls ends after the time that it was given', async () => {
  answer = (response) => response.write('x')
  const fetch = { body: '0000', family: 2, beginWithin: 10_000, stallAfter: 1000 } as const
  const { source } = await fetchFromUpstream(upstream, '/a.git', {}, fetch)
  const reading = (async () => {
    for await (const _ of source.stdout);
  })().catch(({ reason }) => reason)
  expect(await Promise.race([reading, sleep(6000, 'hangs')])).toBe('broken-off')
}, 10_000)

test('protocol v2 is asked for where the client speaks it, and not where he does not', async () => {
  const seen: unknown[] = []
  answer = (response, { headers }) => {
    seen.push(headers['git-protocol'])
    response.end('x')
  }
  for (const family of [0, 2] as const) {
    const fetch = { body: '0000', family, beginWithin: 10_000, stallAfter: 1000 }
    await fetchFromUpstream(upstream, '/a.git', { 'git-protocol': 'version=1' }, fetch)
  }
  const one = askUpstream(upstream, '/a.git', { 'git-protocol': 'version=2' }, 10)
  await one.lsRefs('0000')
  expect(seen).toEqual([undefined, 'version=2', 'version=2'])
})

test('a certificate that was renewed is read anew', async () => {
  const caFile = path.join(mkdtempSync(path.join(work.dir, 'ca-')), 'ca.pem')
  writeFileSync(caFile, 'one')
  const of = { ...upstream, name: 'http://renewed', caFile }
  const used: unknown[] = []
  const use = () => askKept(of, async (dispatcher) => void used.push(dispatcher))
  utimesSync(caFile, 1000, 1000)
  await use()
  await use()
  utimesSync(caFile, 2000, 2000)
  await use()
  expect([used[0] === used[1], used[1] === used[2]]).toEqual([true, false])
})
