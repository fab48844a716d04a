/** For people: /metrics, /healthz and /readyz on a listener of their own, and nginx's reports by UDP. */
import { createSocket } from 'node:dgram'
import { access, constants } from 'node:fs/promises'
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { Budget } from './budget.ts'
import { type Config, splitAddress } from './config.ts'
import { UserError } from './errors.ts'
import { gitVersion } from './git.ts'
import type { Layout } from './layout.ts'
import type { Metrics } from './metrics.ts'

export interface Admin {
  /** Not ready from now on: what balances load sends nothing more. */
  drain(): void
  close(): Promise<void>
}

export interface AdminParts {
  dirs: Layout
  metrics: Metrics
  budget: Budget
  /** Called with the key of an answer that nginx did not send all of. */
  suspect(key: string): void
}

export async function startAdmin(config: Config, parts: AdminParts): Promise<Admin> {
  const state = { draining: false }
  const server = config.admin === undefined ? null : await startHttp(config.admin, parts, state)
  const reports = config.reports === undefined ? null : await startReports(config.reports, parts)
  return {
    drain: () => {
      state.draining = true
    },
    close: async () => {
      server?.closeAllConnections()
      server?.close()
      reports?.close()
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
        writable: await isWritable(dirs.packs),
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
    server.once('error', (error) => reject(inUse('--admin', address, error)))
    server.listen({ host, port }, resolve)
  })
  return server
}

function say(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' })
  response.end(`${JSON.stringify(body)}\n`)
}

function isWritable(dir: string): Promise<boolean> {
  return access(dir, constants.W_OK).then(
    () => true,
    () => false
  )
}

/** A line of the log format gitcache_report, behind a syslog header (RFC 3164). */
const REPORT = /gitcache: ([a-z0-9=; -]+)\t(\d+)\t([\d.]+)\t(OK|-)\t\S*?([0-9a-f]{64})?\n?$/

async function startReports(address: string, { metrics, budget, suspect }: AdminParts) {
  const socket = createSocket('udp4')
  socket.on('message', (message) => {
    // The last field is empty where there is no file: the tab before it stays.
    const match = REPORT.exec(message.toString('latin1'))
    if (match === null) return
    const [, result = '', bytes, seconds, completion, key] = match
    metrics.report(result, Number(bytes), Number(seconds))
    if (key === undefined) return
    budget.used(key)
    if (result === 'hit' && completion !== 'OK') suspect(key)
  })
  const [host, port] = splitAddress(address)
  await new Promise<void>((resolve, reject) => {
    socket.once('error', (error) => reject(inUse('--reports', address, error)))
    socket.bind(port, host, resolve)
  })
  return socket
}

function inUse(flag: string, address: string, error: Error): UserError {
  return new UserError(
    'GITCACHE_LISTEN',
    `${flag} ${address}: ${error.message}`,
    'give another address'
  )
}
