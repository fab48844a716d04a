/** What an answer is made with. */
import type { LimitFunction } from 'p-limit'
import type { Logger } from 'pino'
import type { Config } from './config.ts'
import type { Confirm } from './confirm.ts'
import type { Faults } from './faults.ts'
import type { GitLimit } from './git-limit.ts'
import type { Jobs } from './jobs.ts'
import type { Layout } from './layout.ts'
import type { Metrics } from './metrics.ts'
import type { Mirrors } from './mirrors.ts'
import type { Store } from './store.ts'

export interface Parts {
  config: Config
  dirs: Layout
  store: Store
  jobs: Jobs
  mirrors: Mirrors
  limit: GitLimit
  /** Of clones that become mirrors: who asks for the repository waits for these, and not for upkeep. */
  seeds: LimitFunction
  /** Of the checks of answers that become no mirror: never behind a mirror in the making. */
  checks: LimitFunction
  confirm: Confirm
  log: Logger
  faults: Faults
  metrics: Metrics
}
