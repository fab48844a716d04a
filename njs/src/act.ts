/** What is done with a request: the end of every decision, and what the sidecar may say to it. */
import { NAK } from './git/probe.ts'
import type { Reason } from './git/reasons.ts'
import { packFile } from './stored.ts'

/** `result` is for $gitcache_result and X-Git-Cache. */
export type Act =
  /** By an internal location: a stored answer, the sidecar's job, upstream. */
  | { kind: 'hit'; result: string; file: string }
  | { kind: 'stream'; result: string; job: string }
  | { kind: 'pass'; result: string }
  /** At once: upstream's answer, where its answer to the probe is that. */
  | { kind: 'say'; result: string; body: string }
  /** 429 or 5xx that upstream has just said to this client's probe, or to this very request of another. */
  | ({ kind: 'refuse'; result: string } & Told)

type Headers = Record<string, string | string[]>

/** What upstream says beside a yes or no: too much to do. */
export interface Told {
  status: number
  headers: Headers
  body: string | Buffer
}

export function passed(reason: Reason): Act {
  return { kind: 'pass', result: 'pass; reason=' + reason }
}

/** Nothing else can follow where nothing is common: upload-pack.c, send_acks. */
export function nak(): Act {
  return { kind: 'say', result: 'nak', body: NAK }
}

/** He need not ask once more to be told the same. */
export function refused(told: Told): Act {
  const result = passed('overloaded').result
  return { kind: 'refuse', result, status: told.status, headers: told.headers, body: told.body }
}

export function hit(packs: string, key: string): Act {
  return { kind: 'hit', result: 'hit', file: packFile(packs, key) }
}

/** The sidecar's word on a request. Shape: sidecar/src/protocol.ts. */
export interface SidecarState {
  state: 'ready' | 'stream' | 'probe' | 'nak' | 'ticket' | 'pass' | 'refused'
  reason?: string
  result?: string
  job?: string
  key?: string
  status?: number
  retryAfter?: string
}

export const NO_SIDECAR: SidecarState = { state: 'pass', reason: 'sidecar' }

/** An answer without a word: signs of life, and then it was killed, or hangs. */
export function readState(text: string | null): SidecarState {
  return text === null || text.trim() === '' ? NO_SIDECAR : (JSON.parse(text) as SidecarState)
}

export function isJob(job: string | undefined): job is string {
  return job !== undefined && /^[0-9a-f]{32}$(?!\n)/.test(job)
}

/** Does what the sidecar said; what it says is checked, since it becomes a file name and a path. */
export function follow(packs: string, state: SidecarState): Act {
  if (state.state === 'ready' && /^[0-9a-f]{64}$(?!\n)/.test(state.key || '')) {
    return hit(packs, state.key as string)
  }
  if (state.state === 'stream' && isJob(state.job)) {
    const result = state.result === 'join' ? 'join' : 'miss'
    return { kind: 'stream', result, job: state.job }
  }
  if (state.state === 'nak') {
    return nak()
  }
  const status = Number(state.status)
  if (state.state === 'refused' && (status === 429 || (status >= 500 && status < 600))) {
    const headers: Headers = { 'Content-Type': 'text/plain' }
    if (/^[0-9]{1,6}$(?!\n)/.test(state.retryAfter || '')) {
      headers['Retry-After'] = String(state.retryAfter)
    }
    return refused({ status, headers, body: 'upstream refused the same request just now\n' })
  }
  const reason = state.reason || ''
  return passed(/^[a-z0-9-]{1,30}$(?!\n)/.test(reason) ? (reason as Reason) : 'sidecar')
}
