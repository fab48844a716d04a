/** The upstream of a first run: `git http-backend` on loopback, with two repositories. */
import { mkdir } from 'node:fs/promises'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { type Target, targetOf } from '../commands/nginx-conf.ts'
import type { Upstream } from '../upstreams.ts'
import { createSampleUpstream } from './http-backend.ts'
import { makeSampleRepository } from './repositories.ts'

export const PASSWORD = 'secret'

/** DIR/upstream keeps the sample repositories; what else is put there is served too. */
export async function startSample(data: string): Promise<Server> {
  const root = path.join(data, 'upstream')
  await mkdir(root, { recursive: true })
  await makeSampleRepository(path.join(root, 'public', 'sample.git'))
  await makeSampleRepository(path.join(root, 'private', 'sample.git'))
  const server = createSampleUpstream({
    root,
    logFile: path.join(data, 'log', 'upstream.log'),
    protectedPath: '/private/',
    user: 'me',
    password: PASSWORD,
  })
  server.listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  return server
}

/** Its port changes with every start, its name in the keys does not. */
export function sampleTarget(server: Server): Target {
  const { port } = server.address() as AddressInfo
  const upstream: Upstream = { name: '', url: `http://127.0.0.1:${port}` }
  return { ...targetOf(upstream), name: 'http://sample', block: 'sample', host: 'sample' }
}
