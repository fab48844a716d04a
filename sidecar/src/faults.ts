/** What is wrong with the machine, said once: the same fault repeated is counted, not repeated. */
import type { Logger } from 'pino'
import { Pass } from './protocol.ts'

/** Code: a sentence, and what to do about it. */
const FAULTS = {
  GITCACHE_STORE: [
    'an answer could not be stored; clients get theirs all the same',
    'look at free space, inodes and mode of --data',
  ],
  GITCACHE_UNREACHABLE: [
    'the sidecar does not reach upstream; the request was passed',
    'look at the address in --upstream, at --ca-file and at --proxy',
  ],
  GITCACHE_MIRROR_DAMAGED: [
    'a mirror is damaged and was removed; the next fetch makes a new one',
    'look at the disk below --data',
  ],
  GITCACHE_GIT: [
    'git failed on a mirror; the request was passed',
    'look at memory and at limits of processes; a damaged mirror is found and made anew',
  ],
  GITCACHE_UPSTREAM_DAMAGED: [
    'upstream sent a pack that git does not take; its answer was not kept',
    'run git fsck on the repository upstream',
  ],
  GITCACHE_PACK_DAMAGED: ['a stored answer is damaged and was removed', 'look at the disk'],
  GITCACHE_EVICT: ['--data could not be looked through', 'look at the mode of --data'],
  GITCACHE_UPKEEP: ['upkeep of a mirror failed; it is used as it is', 'see the error'],
  GITCACHE_INTERNAL: ['a request failed in a way that nobody foresaw', 'please report it'],
} as const satisfies Record<string, readonly [sentence: string, hint: string]>

export type FaultCode = keyof typeof FAULTS

/** MUST NOT be given anything with credentials in it. */
export type Faults = (code: FaultCode, error: unknown, fields?: Record<string, unknown>) => void

/** An error on the way to a stored answer, as a pass; what is no pass yet is the machine's fault. */
export function asPass(faults: Faults, error: unknown): Pass {
  if (error instanceof Pass) {
    return error
  }
  faults('GITCACHE_STORE', error)
  return new Pass('store', String(error))
}

const PERIOD = 60_000

export function openFaults(log: Logger): Faults {
  const repeated = new Map<FaultCode, number>()

  return (code, error, fields = {}) => {
    const count = repeated.get(code)
    if (count !== undefined) {
      repeated.set(code, count + 1)
      return
    }
    const [sentence, hint] = FAULTS[code]
    log.error({ code, hint, error: String(error), ...fields }, sentence)
    repeated.set(code, 0)
    const timer = setTimeout(() => {
      const more = repeated.get(code) ?? 0
      repeated.delete(code)
      if (more > 0) log.error({ code, repeated: more }, 'the same again')
    }, PERIOD)
    timer.unref()
  }
}
