/** nginx's reports on what it has answered, by UDP (its `access_log syslog:`). */
import { createSocket } from 'node:dgram'
import { isIPv6 } from 'node:net'
import { splitAddress } from './address.ts'
import type { Budget } from './budget.ts'
import { cannotListen } from './errors.ts'
import type { Metrics } from './metrics.ts'

/** A line of the log format gitcache_report, behind a syslog header (RFC 3164). */
const REPORT = /gitcache: ([a-z0-9=; -]+)\t(\d+)\t([\d.]+)\t(OK|-)\t\S*?([0-9a-f]{64})?\n?$/

export interface Reports {
  close(): void
}

export interface ReportParts {
  metrics: Metrics
  budget: Pick<Budget, 'used'>
  /** Called with the key of an answer that nginx did not send, or not all of. */
  suspect(key: string): void
}

/** `address` undefined: nginx reports nothing. */
export async function startReports(
  address: string | undefined,
  { metrics, budget, suspect }: ReportParts
): Promise<Reports> {
  if (address === undefined) {
    return { close: () => {} }
  }
  const [host, port] = splitAddress(address)
  const socket = createSocket(isIPv6(host) ? 'udp6' : 'udp4')
  socket.on('message', (message) => {
    // The last field is empty where there is no file: the tab before it stays.
    const match = REPORT.exec(message.toString('latin1'))
    if (match === null) return
    const [, result = '', bytes, seconds, completion, key] = match
    metrics.report(result, Number(bytes), Number(seconds), completion === 'OK')
    if (key === undefined) return
    const isHit = result === 'hit'
    if (isHit) budget.used(key)
    // Not all of it was sent, or nginx could not even open it.
    if ((isHit && completion !== 'OK') || result === 'pass; reason=store') suspect(key)
  })
  await new Promise<void>((resolve, reject) => {
    socket.once('error', (error) => reject(cannotListen('--reports', address, error)))
    socket.bind(port, host, resolve)
  })
  return { close: () => socket.close() }
}
