/** What of the sidecar's server does not depend on an answer. */
import { once } from 'node:events'
import { Agent, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import type { Jobs } from '../../sidecar/src/jobs.ts'
import { createSidecarServer, type ServerParts } from '../../sidecar/src/server.ts'

test('a connection ends with its answer: one that is kept would be asked on while we drain', async () => {
  const jobs = { take: () => undefined } as unknown as Jobs
  const server = createSidecarServer({ jobs } as ServerParts)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const agent = new Agent({ keepAlive: true })
  for (const path of [`/stream/${'0'.repeat(32)}`, '/']) {
    const asked = request({ agent, port, path }).end()
    const [{ headers }] = await once(asked, 'response')
    expect(headers.connection).toBe('close')
    asked.destroy()
  }
  server.close()
})
