/** One line for each request that the sidecar saw: nginx's log and ours meet in `id`, its $request_id. */
import type { Logger } from 'pino'
import type { State } from './protocol.ts'

export interface Seen {
  id: string
  /** As nginx calls it. */
  upstream: string
  /** The repository's path: it holds no credentials. */
  repo: string
  /** Milliseconds since the epoch. */
  since: number
}

export interface RequestLog {
  /** An answer that nginx gives from a file, or does not take from us. `detail`: of why it passes, or ''. */
  decided(seen: Seen, state: State, detail: string): void
  /** An answer that went through us: bytes, and whether it was all. */
  sent(seen: Seen, result: 'miss' | 'join', bytes: number, whole: boolean): void
}

const MAX_DETAIL = 300

export function openRequestLog(log: Logger): RequestLog {
  const line = ({ id, upstream, repo, since }: Seen, fields: object) =>
    log.info({ id, upstream, repo, ...fields, ms: Date.now() - since }, 'request')

  return {
    decided: (seen, state, detail) => {
      if (state.state === 'ready') line(seen, { result: 'hit' })
      if (state.state === 'nak') line(seen, { result: 'nak' })
      if (state.state === 'pass') {
        const why = detail === '' ? {} : { detail: detail.slice(0, MAX_DETAIL) }
        line(seen, { result: 'pass', reason: state.reason, ...why })
      }
      if (state.state === 'refused') {
        line(seen, { result: 'pass', reason: 'overloaded', status: state.status })
      }
    },
    sent: (seen, result, bytes, whole) =>
      line(seen, { result, bytes, ...(whole ? {} : { cut: true }) }),
  }
}
