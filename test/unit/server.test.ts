/** What of the sidecar's server does not depend on an answer. */
import { once } from 'node:events'
import { Agent, request } from 'node:http'
import { text } from 'node:stream/consumers'
import { describe, expect, test } from 'vitest'
import type { Jobs } from '../../sidecar/src/jobs.ts'
import { createSidecarServer, type ServerParts } from '../../sidecar/src/server.ts'
import { listen } from '../support/listen.ts'

test('a connection ends with its answer: one that is kept would be asked on while we drain', async () => {
  const jobs = { take: () => undefined } as unknown as Jobs
  const server = createSidecarServer({ jobs } as ServerParts)
  const port = await listen(server)
  const agent = new Agent({ keepAlive: true })
  for (const path of [`/stream/${'0'.repeat(32)}`, '/']) {
    const asked = request({ agent, port, path }).end()
    const [{ headers }] = await once(asked, 'response')
    expect(headers.connection).toBe('close')
    asked.destroy()
  }
  server.close()
})

describe('an order', () => {
  const SECRET = 's'.repeat(32)
  const ORDER = { upstream: 'http://u', path: '/a.git', family: 2, progress: false, lead: '0000' }

  let draining = false

  /** What is said to nginx, and which faults the log names. */
  async function ordered(order: unknown, secret = SECRET, host = 'upstream') {
    const faults: string[] = []
    const server = createSidecarServer({
      secret,
      isDraining: () => draining,
      answers: { lead: async () => ({ state: 'probe' }) },
      requests: { decided: () => {} },
      faults: (code: string) => void faults.push(code),
    } as unknown as ServerParts)
    const port = await listen(server)
    const asked = request({ port, method: 'POST', path: '/prepare', headers: { host } })
    asked.end(JSON.stringify(order))
    const [response] = await once(asked, 'response')
    const state = JSON.parse(await text(response))
    server.close()
    return { state, faults }
  }

  const refused = { state: { state: 'pass', reason: 'sidecar' }, faults: ['GITCACHE_ORDER'] }

  test('with the secret is followed', async () => {
    const seen = await ordered({ ...ORDER, secret: SECRET })
    expect(seen).toEqual({ state: { state: 'probe' }, faults: [] })
  })

  test.each([
    ['a wrong secret', { ...ORDER, secret: 't'.repeat(32) }],
    ['the beginning of it', { ...ORDER, secret: SECRET.slice(1) }],
    ['no secret', ORDER],
    ['an empty secret', { ...ORDER, secret: '' }],
  ])('with %s is not', async (_, order) => {
    expect(await ordered(order)).toEqual(refused)
  })

  test.each([
    ['the client calls himself', 'gitcache_sidecar', 'x gitcache_sidecar y', 'pass'],
    [
      'the operator sets no Host, nginx calls the sidecar',
      'gitcache_sidecar',
      'x forge y',
      'probe',
    ],
    ['the Host is another, the client calls himself', 'forge', 'x gitcache_sidecar y', 'probe'],
  ])('%s so', async (_, host, vhost, state) => {
    const seen = await ordered({ ...ORDER, secret: SECRET, vhost }, SECRET, host)
    expect(seen).toMatchObject({ state: { state }, faults: [] })
  })

  test('is passed while we drain', async () => {
    draining = true
    const seen = await ordered({ ...ORDER, secret: SECRET })
    draining = false
    expect(seen).toEqual({ state: { state: 'pass', reason: 'sidecar' }, faults: [] })
  })

  test('needs none where there is none, on a socket', async () => {
    expect((await ordered(ORDER, '')).state).toEqual({ state: 'probe' })
  })

  test.each([
    ['of another version', { ...ORDER, secret: SECRET, later: 1 }],
    ['of nothing', { secret: SECRET }],
  ])('%s passes, and the log says so', async (_, order) => {
    expect(await ordered(order)).toEqual(refused)
  })
})
