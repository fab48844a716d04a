/** `nginx-git-cache serve`: the sidecar alone. */
import { existsSync } from 'node:fs'
import { chmod, chown, lstat, rm } from 'node:fs/promises'
import type { Server } from 'node:http'
import { connect, type Server as NetServer } from 'node:net'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { isUnixSocket, splitAddress } from '../address.ts'
import { startAdmin } from '../admin.ts'
import { checkAll, hideAfterBoot, openSuspects, showChecked } from '../answer-check.ts'
import { openAnswers } from '../answers.ts'
import { type Budget, openBudget } from '../budget.ts'
import { type Config, serveConfig } from '../config.ts'
import { type Control, type Purged, takeControl } from '../control.ts'
import { UserError } from '../errors.ts'
import { type Faults, openFaults } from '../faults.ts'
import { endAllGit, trackProcessGroups } from '../git.ts'
import type { Jobs } from '../jobs.ts'
import { openLargeRequests } from '../large-request.ts'
import { emptyDirectory, type Layout, layout } from '../layout.ts'
import { openLog } from '../log.ts'
import { addGauges, createMetrics } from '../metrics.ts'
import { type RawOptions, unknownTwins } from '../options.ts'
import { openParts, type Parts } from '../parts.ts'
import { BACKLOG, listenPrivately } from '../private-socket.ts'
import { startReports } from '../reports.ts'
import { openRequestLog } from '../request-log.ts'
import { createSidecarServer } from '../server.ts'
import { startUpkeep } from '../upkeep.ts'
import { makeDataDirectory } from './data-directory.ts'
import { usableGit } from './git-version.ts'
import { groupId } from './users.ts'

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
  const faults = openFaults(log, metrics)
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
  const shown = showChecked(dirs, faults).catch((error) => faults('GITCACHE_EVICT', error))
  const budget = watchBudget(parts, shown)
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
  control.serve((repository) => shown.then(() => purge(parts, repository)))
  const keepMirrors = config.keepMirrors * DAY
  const upkeep = startUpkeep({ mirrors, store, idle, faults, keepMirrors })
  checkBehind(parts, shown)
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
  trackProcessGroups(path.join(dirs.run, 'git'))
  await emptyDirectory(dirs.tmp)
  await hideAfterBoot(dirs, faults)
}

function watchBudget(parts: Parts, ready: Promise<void>): Budget {
  const { config, dirs, store, mirrors, limit, log, faults, metrics } = parts
  const budget = openBudget({
    dirs,
    store,
    mirrors,
    log,
    faults,
    metrics,
    limit: config.cacheSize,
    ready,
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
function checkBehind({ confirm, dirs, store, log, faults }: Parts, shown: Promise<void>): void {
  shown
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

/** Returns what removes the socket, where it is still ours. */
async function listen(
  server: ReturnType<typeof createSidecarServer>,
  { socket, socketGroup }: Config
): Promise<() => Promise<void>> {
  if (!isUnixSocket(socket)) {
    const [host, port] = splitAddress(socket)
    await listenOn(server, host, port).catch((error) => refuse(socket, error))
    return async () => {}
  }
  const group = socketGroup === undefined ? null : groupId(socketGroup)
  await removeOldSocket(socket)
  await listenPrivately(server, socket).catch((error) => refuse(socket, error))
  const { ino } = await lstat(socket)
  const remove = async () => {
    const now = await lstat(socket).catch(() => null)
    if (now?.ino === ino) await rm(socket, { force: true })
  }
  if (group !== null) {
    await openToGroup(socket, group).catch(async (error) => {
      await remove()
      throw new UserError(
        'GITCACHE_GROUP',
        `--socket-group ${socketGroup}: this user may not give the socket to it (${error.code})`,
        'make him a member of that group, or give one that he is in'
      )
    })
  }
  return remove
}

async function openToGroup(socket: string, group: number): Promise<void> {
  await chown(socket, -1, group)
  await chmod(socket, 0o660)
}

/** Of a life that was killed. Throws UserError where it is somebody's. */
async function removeOldSocket(socket: string): Promise<void> {
  const there = await lstat(socket).catch(() => null)
  if (there === null) {
    return
  }
  const answers = await new Promise<boolean>((resolve) => {
    const asked = connect(socket, () => {
      asked.destroy()
      resolve(true)
    })
    asked.once('error', () => resolve(false))
  })
  if (!there.isSocket() || answers) {
    const what = there.isSocket() ? 'is in use by another sidecar' : 'is there, and no socket'
    throw new UserError('GITCACHE_LISTEN', `--socket ${socket} ${what}`, 'give another')
  }
  await rm(socket, { force: true })
}

/** What the kernel's words mean here. */
const WAYS_OUT: Record<string, string> = {
  EADDRINUSE: 'free the address or give another',
  ENOENT: 'make its directory, for the user who runs this',
  EACCES: 'give its directory to the user who runs this',
}

function refuse(socket: string, error: NodeJS.ErrnoException): never {
  const directory = isUnixSocket(socket) && !existsSync(path.dirname(socket))
  const code = directory ? 'ENOENT' : (error.code ?? '')
  const why = directory ? 'its directory is not there' : error.message
  const way = WAYS_OUT[code] ?? 'give another'
  throw new UserError('GITCACHE_LISTEN', `--socket ${socket}: ${why}`, way)
}

function listenOn(server: NetServer, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port, backlog: BACKLOG }, resolve)
  })
}

function stopSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.once(signal, resolve)
  })
}

async function leaveNothing(dirs: Layout): Promise<void> {
  await emptyDirectory(dirs.tmp)
  await rm(path.join(dirs.run, 'git'), { recursive: true, force: true })
}
