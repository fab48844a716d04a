/** For people: /metrics, /healthz and /readyz on a listener of their own. */
import { constants } from 'node:fs'
import { createServer, type Server, type ServerResponse } from 'node:http'
import { splitAddress } from './address.ts'
import { canAccess } from './can-access.ts'
import { cannotListen } from './errors.ts'
import { gitVersion } from './git.ts'
import type { Layout } from './layout.ts'
import type { Metrics } from './metrics.ts'

export interface Admin {
  /** Not ready from now on: what balances load sends nothing more. */
  drain(): void
  close(): void
}

export interface AdminParts {
  dirs: Layout
  metrics: Metrics
}

/** `address` undefined: nobody asks. */
export async function startAdmin(address: string | undefined, parts: AdminParts): Promise<Admin> {
  const state = { draining: false }
  const server = address === undefined ? null : await startHttp(address, parts, state)
  return {
    drain: () => {
      state.draining = true
    },
    close: () => {
      server?.closeAllConnections()
      server?.close()
    },
  }
}

async function startHttp(
  address: string,
  { dirs, metrics }: AdminParts,
  state: { draining: boolean }
): Promise<Server> {
  const server = createServer(async (request, response) => {
    if (request.url === '/metrics') {
      response.setHeader('content-type', metrics.registry.contentType)
      response.end(await metrics.registry.metrics())
    } else if (request.url === '/healthz') {
      say(response, 200, { alive: true })
    } else if (request.url === '/readyz') {
      const checks = {
        writable: await areWritable(dirs),
        git: (await gitVersion()) !== null,
        draining: state.draining,
      }
      const ready = checks.writable && checks.git && !checks.draining
      say(response, ready ? 200 : 503, { ready, checks })
    } else {
      response.writeHead(404).end()
    }
  })
  const [host, port] = splitAddress(address)
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(cannotListen('--admin', address, error)))
    server.listen({ host, port }, resolve)
  })
  return server
}

async function areWritable({ packs, mirrors, tmp }: Layout): Promise<boolean> {
  const all = [packs, mirrors, tmp].map((dir) => canAccess(dir, constants.W_OK))
  return (await Promise.all(all)).every(Boolean)
}

function say(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' })
  response.end(`${JSON.stringify(body)}\n`)
}
