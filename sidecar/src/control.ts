/**
 * The socket DATA/sidecar/lock. That it listens is the lock on the data directory: a SIGKILL
 * releases it. By it `nginx-git-cache purge` reaches the sidecar; only our user and root can open it.
 */
import { randomBytes } from 'node:crypto'
import { rmSync } from 'node:fs'
import { link, mkdir, rename, rm, stat } from 'node:fs/promises'
import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http'
import path from 'node:path'
import { text } from 'node:stream/consumers'
import { z } from 'zod'
import { UserError } from './errors.ts'
import { layout } from './layout.ts'
import { listenPrivately } from './private-socket.ts'

/** How many of each: `cut` were on their way. */
export const purged = z.object({ answers: z.number(), mirrors: z.number(), cut: z.number() })
export type Purged = z.infer<typeof purged>
/** `repository`: as repositoryId gives it. */
export type Purge = (repository: string) => Promise<Purged>

export interface Control {
  /** Answers purges from now on. */
  serve(purge: Purge): void
  /** Gives the data directory free. */
  close(): void
}

function socketOf(data: string): string {
  return path.join(layout(data).sidecar, 'lock')
}

/** Throws UserError where another sidecar has the data directory. */
export async function refuseIfInUse(data: string): Promise<void> {
  if ((await askSidecar(data, 'GET', '')) !== null) {
    throw inUse(data)
  }
}

function inUse(data: string): UserError {
  return new UserError(
    'GITCACHE_LOCKED',
    `--data ${data} is in use by another sidecar`,
    'stop it, or give this one a directory of its own'
  )
}

/** Throws UserError where another sidecar has it, or it cannot be written. */
export async function takeControl(data: string): Promise<Control> {
  const file = socketOf(data)
  // Where it listens first: closing a server unlinks the name that it was given, whoever has it now.
  const own = `${file}-${process.pid}-${randomBytes(2).toString('hex')}`
  let purge: Purge | null = null
  const server = createServer((message, response) => {
    answer(message, response, purge).catch((error) => response.writeHead(500).end(String(error)))
  })
  try {
    await mkdir(path.dirname(file), { recursive: true, mode: 0o750 })
    await listenPrivately(server, own)
    await takePlace(data, own, file)
  } catch (error) {
    server.close()
    throw error instanceof UserError ? error : unusable(data, error)
  }
  return {
    serve: (given) => {
      purge = given
    },
    close: () => {
      rmSync(file, { force: true })
      server.close()
      server.closeAllConnections()
    },
  }
}

/** Throws UserError where it is taken. link(2) and rename(2): of several that start at once one has it. */
async function takePlace(data: string, own: string, file: string): Promise<void> {
  if (!(await hasLinked(own, file))) {
    await moveAway(data, file, `${own}-old`)
    if (!(await hasLinked(own, file))) throw inUse(data)
  }
  await rm(own, { force: true })
}

async function hasLinked(from: string, to: string): Promise<boolean> {
  return link(from, to).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'EEXIST') return false
      throw error
    }
  )
}

/** The socket of a life that was killed. Throws UserError where somebody listens on it. */
async function moveAway(data: string, file: string, aside: string): Promise<void> {
  const inodeOf = (name: string) => stat(name).then(({ ino }) => ino, isGone)
  const old = await inodeOf(file)
  await refuseIfInUse(data)
  await rename(file, aside).catch(isGone)
  // Another that started may have been quicker: what was moved is that one's.
  const isAnothers = (await inodeOf(aside)) !== old
  if (isAnothers) await hasLinked(aside, file)
  await rm(aside, { force: true })
  if (isAnothers) throw inUse(data)
}

function isGone(error: NodeJS.ErrnoException): null {
  if (error.code === 'ENOENT') return null
  throw error
}

function unusable(data: string, error: unknown): UserError {
  const why = String(error instanceof Error ? error.message : error)
    .trim()
    .split(': ')
    .pop()
  return new UserError(
    'GITCACHE_DATA',
    `--data ${data} cannot be used: ${why}`,
    'give a directory that this user can write'
  )
}

async function answer(
  message: IncomingMessage,
  response: ServerResponse,
  purge: Purge | null
): Promise<void> {
  const repository = await text(message)
  const asked = message.method === 'POST' && purge !== null
  const body = asked ? JSON.stringify(await purge(repository)) : '{}'
  response.writeHead(asked || message.method === 'GET' ? 200 : 503).end(body)
}

/** Asks the sidecar that runs on this directory to purge. Null where none runs. */
export async function purgeBySidecar(data: string, repository: string): Promise<Purged | null> {
  const body = await askSidecar(data, 'POST', repository)
  if (body === null) {
    return null
  }
  const done = purged.safeParse(JSON.parse(body))
  if (!done.success) {
    throw new UserError('GITCACHE_BUSY', 'the sidecar is only starting', 'try again in a second')
  }
  return done.data
}

function askSidecar(data: string, method: string, body: string): Promise<string | null> {
  return new Promise((resolve, reject) => {
    const asked = httpRequest({ socketPath: socketOf(data), method, path: '/' }, (response) => {
      const said = text(response)
      said.then(
        response.statusCode === 500 ? (why) => reject(unfinished(data, why)) : resolve,
        reject
      )
    })
    asked.once('error', (error: NodeJS.ErrnoException) => {
      const nobody = error.code === 'ENOENT' || error.code === 'ECONNREFUSED'
      if (nobody) resolve(null)
      else reject(unreachable(data, error))
    })
    asked.end(body)
  })
}

function unfinished(data: string, why: string): UserError {
  return new UserError(
    'GITCACHE_EVICT',
    `--data ${data}: not all was purged: ${why}`,
    'mend what it names, and purge again'
  )
}

function unreachable(data: string, error: NodeJS.ErrnoException): UserError {
  return new UserError(
    'GITCACHE_LOCKED',
    `--data ${data}: ${error.message}`,
    'run it as the user that the sidecar runs as, or as root'
  )
}
