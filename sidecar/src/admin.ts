/** For people: /metrics, /healthz and /readyz on a listener of their own, and nginx's reports by UDP. */
import { createSocket } from 'node:dgram'
import { access, constants } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { Budget } from './budget.ts'
import { type Config, splitAddress } from './config.ts'
import { UserError } from './errors.ts'
import { createMetrics, type Metrics } from './metrics.ts'
import type { Layout } from './store.ts'

export interface Admin {
  close(): Promise<void>
}

export async function startAdmin(
  config: Config,
  dirs: Layout,
  git: string,
  budget: Budget
): Promise<Admin> {
  const metrics = createMetrics({ git })
  const server = config.admin === undefined ? null : await startHttp(config.admin, dirs, metrics)
  const reports =
    config.reports === undefined ? null : await startReports(config.reports, metrics, budget)
  return {
    close: async () => {
      server?.closeAllConnections()
      server?.close()
      reports?.close()
    },
  }
}

async function startHttp(address: string, dirs: Layout, metrics: Metrics): Promise<Server> {
  const server = createServer(async (request, response) => {
    if (request.url === '/metrics') {
      response.setHeader('content-type', metrics.registry.contentType)
      response.end(await metrics.registry.metrics())
    } else if (request.url === '/healthz' || request.url === '/readyz') {
      const writable = request.url === '/healthz' || (await isWritable(dirs.packs))
      response.writeHead(writable ? 200 : 503, { 'content-type': 'application/json' })
      response.end(JSON.stringify({ ready: writable, checks: { writable } }))
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

function isWritable(dir: string): Promise<boolean> {
  return access(dir, constants.W_OK).then(
    () => true,
    () => false
  )
}

/** A line of the log format gitcache_report: `<result>\t<bytes>\t<file>`, behind a syslog header (RFC 3164). */
const REPORT = /gitcache: ([a-z0-9=; -]+)\t(\d+)(?:\t\S*?([0-9a-f]{64})?)?$/

async function startReports(address: string, metrics: Metrics, budget: Budget) {
  const socket = createSocket('udp4')
  socket.on('message', (message) => {
    const match = REPORT.exec(message.toString('latin1').trimEnd())
    if (match === null) return
    metrics.report(match[1] ?? '', Number(match[2]))
    if (match[3] !== undefined) budget.used(match[3])
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
