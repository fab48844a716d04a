/** `nginx-git-cache serve`: the sidecar alone. */
import { chmod, chown, mkdir, rm } from 'node:fs/promises'
import { connect, createServer, type Server as NetServer } from 'node:net'
import path from 'node:path'
import pLimit from 'p-limit'
import { pino } from 'pino'
import { startAdmin } from '../admin.ts'
import { openAnswers } from '../answers.ts'
import { openBudget } from '../budget.ts'
import { type Config, isUnixSocket, type RawOptions, serveConfig, splitAddress } from '../config.ts'
import { UserError } from '../errors.ts'
import { gitVersion, killAllGit, trackProcessGroups } from '../git.ts'
import { gitLimit } from '../git-limit.ts'
import { openJobs } from '../jobs.ts'
import { openLargeRequests } from '../large-request.ts'
import { openMirrors } from '../mirrors.ts'
import { createSidecarServer } from '../server.ts'
import { emptyDirectory, type Layout, layout, openStore, prepareLayout } from '../store.ts'
import { groupId } from './users.ts'

/** Debian 12's. Older ones lack GIT_CONFIG_GLOBAL (2.32) and fixes of transfers that nobody checked (2.38). */
const OLDEST_GIT = [2, 39] as const

/** Packs of cold answers that are indexed, and mirrors that are repacked, at once. */
const IDLE_PROCESSES = 2

export async function serve(raw: RawOptions): Promise<void> {
  const config = serveConfig(raw)
  const log = pino({ level: config.logLevel, base: null })
  const version = await checkGit()
  const lock = await lockData(config.data)
  const dirs = await prepareLayout(config.data)
  trackProcessGroups(path.join(dirs.run, 'git'))
  const limit = gitLimit(config.gitProcesses, config.queueLength)
  const store = openStore(dirs)
  const idle = pLimit(IDLE_PROCESSES)
  const mirrors = openMirrors(dirs, limit, idle, config.makeMirrors)
  const budget = openBudget({ dirs, mirrors, log, limit: config.cacheSize })
  store.onStored = budget.stored
  const jobs = openJobs()
  const answers = openAnswers({ config, dirs, store, jobs, mirrors, limit, idle, log })
  const large = openLargeRequests(config, answers)
  const server = createSidecarServer({ answers, jobs, large, secret: config.secret, log })
  await listen(server, config)
  const admin = await startAdmin(config, dirs, version, budget)
  log.info(
    { socket: config.socket, git: version, upstreams: config.upstreams.map((u) => u.name) },
    'ready'
  )

  await stopSignal()
  budget.stop()
  killAllGit()
  server.close()
  server.closeAllConnections()
  await admin.close()
  lock.close()
  await leaveNothing(config, dirs)
}

async function checkGit(): Promise<string> {
  const version = await gitVersion()
  const [major = 0, minor = 0] = (version ?? '').split('.').map(Number)
  const old = major < OLDEST_GIT[0] || (major === OLDEST_GIT[0] && minor < OLDEST_GIT[1])
  if (version === null || old) {
    throw new UserError(
      'GITCACHE_GIT',
      version === null ? 'git was not found' : `git ${version} is too old`,
      'install git 2.39 or later: older ones miss security fixes and options that mirrors need'
    )
  }
  return version
}

/** A listening socket is a lock that a SIGKILL releases: a connection tells whether its owner lives. */
async function lockData(data: string): Promise<NetServer> {
  const file = path.join(layout(data).run, 'lock')
  if (await connects(file)) {
    throw new UserError(
      'GITCACHE_LOCKED',
      `--data ${data} is in use by another sidecar`,
      'stop it, or give this one a directory of its own'
    )
  }
  await mkdir(path.dirname(file), { recursive: true, mode: 0o750 })
  await rm(file, { force: true })
  const lock = createServer((socket) => socket.end())
  await listenOn(lock, { path: file })
  return lock
}

function connects(file: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(file, () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

async function listen(
  server: ReturnType<typeof createSidecarServer>,
  config: Config
): Promise<void> {
  if (!isUnixSocket(config.socket)) {
    const [host, port] = splitAddress(config.socket)
    return listenOn(server, { host, port })
  }
  await rm(config.socket, { force: true })
  const mask = process.umask(0o177)
  try {
    await listenOn(server, { path: config.socket })
  } finally {
    process.umask(mask)
  }
  if (config.socketGroup !== undefined) {
    await chown(config.socket, -1, groupId(config.socketGroup))
    await chmod(config.socket, 0o660)
  }
}

function listenOn(server: NetServer, where: object): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) =>
      reject(new UserError('GITCACHE_LISTEN', error.message, 'free the address or give another'))
    )
    server.listen(where, resolve)
  })
}

function stopSignal(): Promise<void> {
  return new Promise((resolve) => {
    process.once('SIGTERM', () => resolve())
    process.once('SIGINT', () => resolve())
  })
}

async function leaveNothing(config: Config, dirs: Layout): Promise<void> {
  if (isUnixSocket(config.socket)) await rm(config.socket, { force: true })
  await emptyDirectory(dirs.tmp)
  await rm(path.join(dirs.run, 'git'), { recursive: true, force: true })
}
