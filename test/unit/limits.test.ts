/** Limits of memory and time, locks, and what a passing trouble of the machine must not make last. */

import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { request } from 'node:http'
import { text } from 'node:stream/consumers'
import { deflateSync } from 'node:zlib'
import { afterEach, expect, test, vi } from 'vitest'
import { writeCanonicalRequest } from '../../njs/src/git/canonical.ts'
import { keyOf } from '../../njs/src/git/key.ts'
import type { Config } from '../../sidecar/src/config.ts'
import { gitLimit } from '../../sidecar/src/git-limit.ts'
import { checkPack } from '../../sidecar/src/pack-check.ts'
import { createSidecarServer, type ServerParts } from '../../sidecar/src/server.ts'
import { readLeadOrder, readOrder } from '../../sidecar/src/work.ts'
import { listen } from '../support/listen.ts'
import { sha256 } from '../support/scope.ts'
import { headOf } from '../support/sidecar.ts'
import { fetchOf, oid, V2, v2 } from '../support/wire.ts'

afterEach(() => void vi.restoreAllMocks())

const config = {
  upstreams: [{ name: 'http://u', url: 'http://u' }],
  maxWait: 60,
  stallAfter: 120,
} as unknown as Config

test('a silent upstream is asked twice before who waits is passed; who was not probed waits as for a probe', () => {
  const plain = fetchOf(v2([`want ${oid(1)}`, 'done']), V2)
  const text = writeCanonicalRequest(plain)
  const path = '/Team/App.git'
  const head = { ...headOf('http://u', path), progress: false }
  const order = { ...head, family: 2 as const, request: text, tags: null, maxTags: 1 }
  const key = keyOf(sha256, plain, null, head)
  const probed = readOrder(config, { ...order, key }, {})
  const led = readLeadOrder(config, { ...head, family: 2, lead: text }, {})
  expect(2 * probed.source.beginWithin + 5000).toBeLessThan(config.maxWait * 1000)
  expect(led.source.beginWithin).toBe(12_000)
  // Case is kept: forges differ in it.
  expect(probed.name.repository).toBe('/Team/App')
})

test('fetches that wait for a slow upstream take no place of packs', async () => {
  const limit = gitLimit(1, 0)
  let release = () => {}
  const slow = limit.fetch('u', 'a', () => new Promise<void>((resolve) => (release = resolve)))
  expect(await limit('b', async () => 'made')).toBe('made')
  release()
  await slow
})

test('turns of repositories that nobody asks for any longer are forgotten', async () => {
  const deleted = vi.spyOn(Map.prototype, 'delete')
  const limit = gitLimit(1, 0)
  await limit('only-here', async () => 1)
  expect(deleted.mock.calls.filter(([key]) => key === 'only-here')).toHaveLength(2)
})

test('an object that inflates to more than it says is not inflated', async () => {
  const size = 100 * 1024 * 1024
  const head = Buffer.concat([Buffer.from('PACK\0\0\0\x02\0\0\0\x01', 'latin1')])
  // A blob of 5 bytes, it says.
  const body = Buffer.concat([
    head,
    Buffer.from([0x35]),
    deflateSync(Buffer.alloc(size), { level: 9 }),
  ])
  const pack = Buffer.concat([body, createHash('sha1').update(body).digest()])
  const before = process.memoryUsage().arrayBuffers
  async function* pieces() {
    yield pack
  }
  expect(pack.length).toBeGreaterThan(64 * 1024)
  expect(await checkPack(pieces(), 'sha1', [oid(1)])).toBe('unsure')
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(16 * 1024 * 1024)
})

/** What is said to nginx. */
async function posted(parts: object, body: string | Buffer, at = '/prepare') {
  const server = createSidecarServer({
    secret: '',
    isDraining: () => false,
    requests: { decided: () => {} },
    faults: () => {},
    ...parts,
  } as unknown as ServerParts)
  const port = await listen(server)
  const asked = request({ port, method: 'POST', path: at })
  asked.end(body)
  const [response] = await once(asked, 'response')
  const said = await text(response)
  server.close()
  return { said, status: response.statusCode, server }
}

test('an order of more than 4 MB is not read', async () => {
  const large = JSON.stringify({ more: 'x'.repeat(5 * 1024 * 1024) })
  expect((await posted({}, large)).said).toBe('{"state":"pass","reason":"error"}')
})

test('the log is not given what an order says', async () => {
  const errors: string[] = []
  const faults = (_: string, error: unknown) => errors.push(String(error))
  await posted({ faults }, JSON.stringify({ secret: 'SECRET', token: 'TOKEN' }))
  expect(errors.join()).toContain('token')
  expect(errors.join()).not.toMatch(/SECRET|TOKEN/)
})

test('signs of life end with the answer', async () => {
  const cleared = vi.spyOn(globalThis, 'clearInterval')
  await posted(
    { answers: { lead: async () => ({ state: 'probe' }) } },
    '{"upstream":"u","path":"/a","family":2,"progress":false,"lead":"0000"}'
  )
  expect(cleared).toHaveBeenCalled()
})

test('a large request that was read while we began to drain is passed', async () => {
  const large = {
    receive: async () => ({
      order: { id: '', upstream: '', vhost: '', path: '' },
      release: () => {},
    }),
    answer: async () => ({ state: 'nak' }),
  }
  const at = `/read/${'0'.repeat(32)}`
  expect((await posted({ large, isDraining: () => true }, '', at)).said).toContain('"sidecar"')
  expect((await posted({ large }, '', at)).said).toContain('"nak"')
})

test('a client may take as long as he likes', async () => {
  const { server } = await posted({}, '{}')
  expect(server.requestTimeout).toBe(0)
})
