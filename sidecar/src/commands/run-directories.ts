/** The data directory of `run`: made, given to nginx's user, and what is left there at the end. */

import { chmod, chown, cp, link, mkdir, rm } from 'node:fs/promises'
import { homedir } from 'node:os'
import path from 'node:path'
import { UserError } from '../errors.ts'
import { layout } from '../layout.ts'
import { DEFAULT_DATA } from '../options.ts'
import { makeDataDirectory } from './data-directory.ts'
import { canReach, otherOwner, type User } from './users.ts'

export interface Directories {
  data: string
  prefix: string
  run: string
  log: string
  packs: string
  socket: string
}

export function defaultData(): string {
  return process.getuid?.() === 0
    ? DEFAULT_DATA
    : path.join(process.env.XDG_CACHE_HOME ?? path.join(homedir(), '.cache'), 'nginx-git-cache')
}

export async function makeDirectories(data: string, user: User | null): Promise<Directories> {
  const dirs = {
    data,
    prefix: path.join(data, 'nginx'),
    run: path.join(data, 'run'),
    log: path.join(data, 'log'),
    packs: layout(data).packs,
    socket: path.join(layout(data).sidecar, 'sidecar.sock'),
  }
  if (user !== null) refuseOthers(data)
  makeDataDirectory(data, [dirs.run, dirs.log, path.join(dirs.prefix, 'tmp')])
  // It names repositories, also private ones.
  await chmod(dirs.log, 0o750)
  checkReachable(data, user)
  return dirs
}

/** What root writes there, and gives to nginx's user, is where it seems to be. Throws UserError. */
function refuseOthers(data: string): void {
  const owner = otherOwner(data)
  if (owner !== null) {
    throw new UserError(
      'GITCACHE_DATA',
      `--data ${data} belongs to ${owner}, by whose links root could be led elsewhere`,
      "give a directory of root's, or run it as that user"
    )
  }
}

/** As root, nginx's workers and the sidecar are another user: below /root they find nothing. */
function checkReachable(data: string, user: User | null): void {
  if (user !== null && !canReach(user, data, '-x')) {
    throw new UserError(
      'GITCACHE_DATA',
      `--data ${data} cannot be reached by nginx's user ${user.name}`,
      `give a directory outside of private ones, such as ${defaultData()}`
    )
  }
}

/** What the sidecar's user has to be able to write and to run. */
export async function giveToUser(dirs: Directories, user: User | null): Promise<SidecarProgram> {
  const main = import.meta.filename
  if (user === null) {
    return { node: process.execPath, main }
  }
  for (const dir of Object.values(layout(dirs.data))) {
    await mkdir(dir, { recursive: true, mode: 0o750 })
    await chown(dir, user.uid, user.gid)
  }
  return {
    node: await reachable(process.execPath, dirs, user),
    main: await reachable(main, dirs, user),
  }
}

/** The file itself, or a link or copy below DATA of one that stands in a private directory. */
async function reachable(file: string, dirs: Directories, user: User): Promise<string> {
  if (canReach(user, file, '-r')) {
    return file
  }
  const copy = path.join(dirs.data, 'lib', path.basename(file))
  await mkdir(path.dirname(copy), { recursive: true })
  await rm(copy, { force: true })
  await link(file, copy).catch(() => cp(file, copy))
  return copy
}

export interface SidecarProgram {
  node: string
  main: string
}

/** By these it is seen that all is up: those of a life that was killed would say so at once. */
export async function forgetProcesses(dirs: Directories): Promise<void> {
  for (const name of ['nginx.pid', 'sidecar.pid'])
    await rm(path.join(dirs.run, name), { force: true })
  await rm(dirs.socket, { force: true })
}

export async function leaveNothing(dirs: Directories): Promise<void> {
  await forgetProcesses(dirs)
  await rm(path.join(dirs.prefix, 'tmp'), { recursive: true, force: true })
}
