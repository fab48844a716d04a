/** `git http-backend` over all repositories below a directory, in this process. */
import type { Server } from 'node:http'
import path from 'node:path'
import type { FetchSource } from '../../sidecar/src/mirror.ts'
import { createSampleUpstream } from '../../sidecar/src/sample/http-backend.ts'

export function gitBackend(root: string): Server {
  const logFile = path.join(root, 'log')
  return createSampleUpstream({ root, logFile, protectedPath: '/none/', user: '', password: '' })
}

/** For who is patient. */
export function fetchSource(port: number, repository: string): FetchSource {
  const url = `http://127.0.0.1:${port}/${repository}`
  return { url, env: {}, beginWithin: 20_000, stallAfter: 20_000 }
}
