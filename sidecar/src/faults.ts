/** What is wrong with the machine, said once: the same fault repeated is counted, not repeated. */
import type { Logger } from 'pino'
import type { MirrorName } from './mirror.ts'
import { Pass } from './protocol.ts'

/** Code: a sentence, and what to do about it. */
const FAULTS = {
  GITCACHE_STORE: [
    'an answer could not be stored; clients get theirs all the same',
    'look at free space, inodes and mode of --data',
  ],
  GITCACHE_TOO_LARGE: [
    'an answer is larger than half of the cache and was not stored; it is made anew for each client',
    'give more room by --cache-size',
  ],
  GITCACHE_BROKEN_OFF: [
    "upstream's answer broke off; who was reading it is cut and has to ask again",
    'look at upstream, and at proxies and timeouts on the way to it',
  ],
  GITCACHE_UNREACHABLE: [
    'the sidecar does not reach upstream; the request was passed',
    'look at the address in --upstream, at --ca-file, --client-cert and --proxy',
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
  GITCACHE_ORDER: [
    'nginx orders what this sidecar does not know, or with another secret; the request was passed',
    'copy gitcache.js and the include files of this version; compare $gitcache_secret and --secret-file',
  ],
  GITCACHE_INTERNAL: ['a request failed in a way that nobody foresaw', 'please report it'],
} as const satisfies Record<string, readonly [sentence: string, hint: string]>

export type FaultCode = keyof typeof FAULTS
export const FAULT_CODES = Object.keys(FAULTS) as FaultCode[]

/** What else a line says. Of another upstream or repository, the same fault is said again. */
export interface FaultFields {
  upstream?: string
  repo?: string
  key?: string
}

/** Whose mirror or answer it is. */
export function ofRepository({
  upstream,
  repository,
}: Pick<MirrorName, 'upstream' | 'repository'>): FaultFields {
  return { upstream, repo: repository }
}

/** MUST NOT be given anything with credentials in it. */
export type Faults = (code: FaultCode, error: unknown, fields?: FaultFields) => void

/** Want of descriptors or memory: nothing is wrong with the file. */
export function isForNow(error: unknown): boolean {
  return /^(EMFILE|ENFILE|ENOMEM|EAGAIN)$/.test((error as NodeJS.ErrnoException)?.code ?? '')
}

/** An error on the way to a stored answer, as a pass; what is no pass yet is the machine's fault. */
export function asPass(faults: Faults, error: unknown, fields: FaultFields): Pass {
  if (error instanceof Pass) {
    return error
  }
  faults('GITCACHE_STORE', error, fields)
  return new Pass('store', String(error))
}

const PERIOD = 60_000
/** Lines of one code in a period: an upstream that is down has thousands of repositories. */
const MAX_LINES = 10

/** `count` is called with each, also with those that are not said again. */
export function openFaults(log: Logger, count: (code: FaultCode) => void): Faults {
  /** For each code, what has been said in this period, and how often the same came again. */
  const periods = new Map<FaultCode, { said: Set<string>; repeated: number }>()

  function begin(code: FaultCode) {
    const period = { said: new Set<string>(), repeated: 0 }
    periods.set(code, period)
    const timer = setTimeout(() => {
      periods.delete(code)
      if (period.repeated > 0) log.error({ code, repeated: period.repeated }, 'the same again')
    }, PERIOD)
    timer.unref()
    return period
  }

  return (code, error, fields = {}) => {
    count(code)
    const period = periods.get(code) ?? begin(code)
    const whose = [fields.upstream, fields.repo, fields.key].join('\n')
    if (period.said.has(whose) || period.said.size >= MAX_LINES) {
      period.repeated += 1
      return
    }
    period.said.add(whose)
    const [sentence, hint] = FAULTS[code]
    const why = error instanceof Pass ? error.message : String(error)
    log.error({ code, hint, error: why, ...fields }, sentence)
  }
}
