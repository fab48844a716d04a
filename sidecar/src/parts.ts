/** What an answer is made with. */
import { LRUCache } from 'lru-cache'
import pLimit, { type LimitFunction } from 'p-limit'
import type { Logger } from 'pino'
import type { Config } from './config.ts'
import { type Confirm, openConfirm } from './confirm.ts'
import type { Faults } from './faults.ts'
import { type GitLimit, gitLimit } from './git-limit.ts'
import { type Jobs, openJobs } from './jobs.ts'
import type { Layout } from './layout.ts'
import type { Metrics } from './metrics.ts'
import { type Mirrors, openMirrors } from './mirrors.ts'
import { openStore, type Store } from './store.ts'

/** What all of it stands on. */
export interface Ground {
  config: Config
  dirs: Layout
  log: Logger
  faults: Faults
  metrics: Metrics
}

export interface Parts extends Ground {
  store: Store
  jobs: Jobs
  mirrors: Mirrors
  limit: GitLimit
  /** Of mirrors that are repacked or looked at. */
  idle: LimitFunction
  /** Of clones that become mirrors: who asks for the repository waits for these, and not for upkeep. */
  seeds: LimitFunction
  /** Of the checks of answers that become no mirror: never behind a mirror in the making. */
  checks: LimitFunction
  confirm: Confirm
  /** Keys for which there was no place for git just now: who asks for one again is one of a herd. */
  turnedAway: LRUCache<string, true>
  /** Whether an upstream, by `siteOf`, that would not do a fetch of ours just now answers clients all the same. */
  answering: LRUCache<string, Promise<boolean>>
  /** Upstreams that have said Retry-After, by `siteOf`, until it is over: there nobody leads unprobed. */
  leftAlone: LRUCache<string, true>
}

/** Clones that are indexed for a mirror at once, and mirrors that are repacked or looked at. */
const IDLE_PROCESSES = 2

/** Milliseconds. */
const TURNED_AWAY_FOR = 10_000
/** Milliseconds. */
const ANSWERING_FOR = 10_000
/** Milliseconds, whatever upstream says. */
const LONGEST_LEFT_ALONE = 60_000

export function openParts(ground: Ground): Parts {
  const { config, dirs, log, faults, metrics } = ground
  const limit = gitLimit(config.gitProcesses, config.queueLength)
  const store = openStore(dirs)
  const idle = pLimit(IDLE_PROCESSES)
  const mirrors = openMirrors({
    dirs,
    limit,
    idle,
    whenToMake: config.makeMirrors,
    log,
    faults,
    metrics,
    shallow: (repository) => {
      store.purge(repository).catch((error) => faults('GITCACHE_STORE', error))
    },
  })
  return {
    ...ground,
    store,
    jobs: openJobs(),
    mirrors,
    limit,
    idle,
    seeds: pLimit(IDLE_PROCESSES),
    checks: pLimit(config.gitProcesses),
    turnedAway: new LRUCache({ max: 1000, ttl: TURNED_AWAY_FOR }),
    answering: new LRUCache({ max: 1000, ttl: ANSWERING_FOR }),
    leftAlone: new LRUCache({ max: 1000, ttl: LONGEST_LEFT_ALONE }),
    confirm: openConfirm(dirs, store, faults, mirrors.setShallow),
  }
}
