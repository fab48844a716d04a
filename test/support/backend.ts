/** `git http-backend` over all repositories below a directory, in this process. */
import type { Server } from 'node:http'
import path from 'node:path'
import { createSampleUpstream } from '../../sidecar/src/sample/http-backend.ts'

export function gitBackend(root: string): Server {
  const logFile = path.join(root, 'log')
  return createSampleUpstream({ root, logFile, protectedPath: '/none/', user: '', password: '' })
}
