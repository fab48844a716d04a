/** Where `serve` answers nginx: a unix socket of its own, or an address. */
import { existsSync } from 'node:fs'
import { chmod, chown, lstat, rm } from 'node:fs/promises'
import type { Server } from 'node:net'
import path from 'node:path'
import { isUnixSocket, splitAddress } from '../address.ts'
import { canConnect } from '../can-connect.ts'
import type { Config } from '../config.ts'
import { UserError } from '../errors.ts'
import { BACKLOG, listenPrivately } from '../private-socket.ts'
import { groupId } from './users.ts'

/** Returns what removes the socket, where it is still ours. Throws UserError where it cannot be listened on. */
export async function listen(
  server: Server,
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
  if (!there.isSocket() || (await canConnect(socket))) {
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

function listenOn(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port, backlog: BACKLOG }, resolve)
  })
}
