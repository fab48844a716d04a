/** `nginx-git-cache serve`: the sidecar alone. */
import { rm } from 'node:fs/promises'
import type { Server } from 'node:http'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { startAdmin } from '../admin.ts'
import { checkAll, hideAfterBoot, openSuspects, showChecked } from '../answer-check.ts'
import { openAnswers } from '../answers.ts'
import { type Budget, openBudget } from '../budget.ts'
import { type Config, serveConfig } from '../config.ts'
import { type Control, type Purged, takeControl } from '../control.ts'
import { UserError } from '../errors.ts'
import { type Faults, openFaults } from '../faults.ts'
import { endAllGit } from '../git.ts'
import type { Jobs } from '../jobs.ts'
import { openLargeRequests } from '../large-request.ts'
import { emptyDirectory, type Layout, layout } from '../layout.ts'
import { openLog } from '../log.ts'
import { addGauges, createMetrics } from '../metrics.ts'
import { type RawOptions, unknownTwins } from '../options.ts'
import { openParts, type Parts } from '../parts.ts'
import { trackProcessGroups } from '../process-groups.ts'
import { startReports } from '../reports.ts'
import { openRequestLog } from '../request-log.ts'
import { createSidecarServer } from '../server.ts'
import { startUpkeep } from '../upkeep.ts'
import { makeDataDirectory } from './data-directory.ts'
import { usableGit } from './git-version.ts'
import { listen } from './listen.ts'

const DAY = 24 * 3600 * 1000

export async function serve(raw: RawOptions): Promise<void> {
  const config = checkedConfig(raw)
  // What nginx's user is to read he can, whatever umask we were started with.
  process.umask(0o027)
  const log = openLog(config.logLevel)
  const unknown = unknownTwins(process.env)
  if (unknown.length > 0)
    log.warn({ names: unknown }, 'unknown settings in the environment: see --help')
  const git = await usableGit()
  const metrics = createMetrics({ git })
  const faults = openFaults(log, metrics.fault)
  const dirs = layout(config.data)
  makeDataDirectory(config.data, Object.values(dirs))
  const control = await takeControl(config.data)
  try {
    await clearAway(dirs, faults)
    await answerUntilStopped(openParts({ config, dirs, log, faults, metrics }), control)
  } finally {
    await leaveNothing(dirs)
    control.close()
  }
}

/** Throws UserError where it cannot listen. */
async function answerUntilStopped(parts: Parts, control: Control): Promise<void> {
  const { config, dirs, log, faults, metrics, store, mirrors, jobs, idle } = parts
  store.shown = showChecked(dirs, faults).catch((error) => faults('GITCACHE_EVICT', error))
  const budget = watchBudget(parts)
  const answers = openAnswers(parts)
  let draining = false
  const server = createSidecarServer({
    isDraining: () => draining,
    answers,
    jobs,
    large: openLargeRequests(config, answers),
    secret: config.secret,
    requests: openRequestLog(log),
    faults,
  })
  const suspect = openSuspects(dirs, store, faults)
  const admin = await startAdmin(config.admin, { dirs, metrics })
  const reports = await startReports(config.reports, { metrics, budget, suspect })
  // Last: by the socket it is seen that we are there.
  const removeSocket = await listen(server, config)
  control.serve((repository) => purge(parts, repository))
  const keepMirrors = config.keepMirrors * DAY
  const upkeep = startUpkeep({ mirrors, store, idle, faults, keepMirrors })
  checkBehind(parts)
  const { socket, upstreams } = config
  log.info({ socket, upstreams: upstreams.map(({ name }) => name) }, 'ready')

  const stopped = await stopSignal()
  if (stopped === 'SIGTERM' && config.drain > 0) {
    admin.drain()
    log.info({ seconds: config.drain }, 'draining: what comes now is passed by nginx')
    draining = true
    await drained(server, jobs, config.drain * 1000)
  }
  upkeep.stop()
  budget.stop()
  endAllGit()
  server.close()
  server.closeAllConnections()
  admin.close()
  reports.close()
  await removeSocket()
}

function checkedConfig(raw: RawOptions): Config {
  const config = serveConfig(raw)
  if (config.upstreams.length === 0) {
    throw new UserError(
      'GITCACHE_UPSTREAM',
      '--upstream is not given: every request would pass',
      'give NAME=URL, NAME as $gitcache_upstream has it in nginx'
    )
  }
  return config
}

/** What the last life has left under way. */
async function clearAway(dirs: Layout, faults: Faults): Promise<void> {
  // Before tmp/ is emptied: what the last life left behind may be writing there.
  trackProcessGroups(path.join(dirs.sidecar, 'git'))
  await emptyDirectory(dirs.tmp)
  await hideAfterBoot(dirs, faults)
}

function watchBudget(parts: Parts): Budget {
  const { config, dirs, store, mirrors, limit, log, faults, metrics } = parts
  const budget = openBudget({
    dirs,
    store,
    mirrors,
    log,
    faults,
    metrics,
    limit: config.cacheSize,
  })
  store.onStored = budget.stored
  store.onRemoved = budget.removed
  addGauges(metrics, {
    gitProcesses: limit.running,
    gitQueue: limit.waiting,
    sizes: budget.sizes,
  })
  return budget
}

async function purge(parts: Parts, repository: string): Promise<Purged> {
  const { jobs, mirrors, store, log, faults } = parts
  try {
    const cut = jobs.abort(repository)
    const gone = await mirrors.purge(repository)
    const answers = await store.purge(repository)
    // What began between the first look and the last mirror's end was of what is gone now.
    const removed = { answers, mirrors: gone, cut: cut + jobs.abort(repository) }
    log.info({ repo: repository, ...removed }, 'purged')
    return removed
  } catch (error) {
    faults('GITCACHE_EVICT', error, { repo: repository })
    throw error
  }
}

/** What the last life has left to be looked at, and then all that is stored. */
function checkBehind({ confirm, dirs, store, log, faults }: Parts): void {
  store.shown
    .then(() => confirm.resume())
    .then(() => checkAll(dirs, store, faults))
    .then((answers) => log.info({ answers }, 'stored answers were read'))
    .catch((error) => faults('GITCACHE_EVICT', error))
}

/** Who was told an id comes for it at once, or has hung up. Milliseconds. */
const COMES_WITHIN = 3000
const LOOKS_EVERY = 50

/** Resolves when all answers are out, or in time, or at a second signal. */
async function drained(server: Server, jobs: Jobs, milliseconds: number): Promise<void> {
  const end = Date.now() + milliseconds
  let stopped = false
  stopSignal().then(() => {
    stopped = true
  })
  let quiet = Date.now()
  while (!stopped && Date.now() < end) {
    if ((await connectionsOf(server)) > 0) quiet = Date.now()
    else if (!jobs.areAwaited() || Date.now() - quiet > COMES_WITHIN) return
    await sleep(LOOKS_EVERY)
  }
}

function connectionsOf(server: Server): Promise<number> {
  return new Promise((resolve) => {
    server.getConnections((_, count) => resolve(count ?? 0))
  })
}

function stopSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.once(signal, resolve)
  })
}

async function leaveNothing(dirs: Layout): Promise<void> {
  await emptyDirectory(dirs.tmp)
  await rm(path.join(dirs.sidecar, 'git'), { recursive: true, force: true })
}
