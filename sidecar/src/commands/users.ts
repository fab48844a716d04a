/** Users and groups by name, and what they can reach; from passwd(5) and group(5). */
import { spawnSync } from 'node:child_process'
import { lstatSync, readFileSync, statSync } from 'node:fs'
import { UserError } from '../errors.ts'

export interface User {
  name: string
  uid: number
  gid: number
}

/** By its id; the id itself where it has no name. */
function nameOfUser(uid: number): string {
  const lines = readFileSync('/etc/passwd', 'utf8').split('\n')
  return (
    lines.map((line) => line.split(':')).find(([, , id]) => id === String(uid))?.[0] ?? `${uid}`
  )
}

/**
 * Whose directory root would follow into: by a link there its owner could have root write, remove or give
 * away any file. Of a link it is asked of both ends. Null where it is root's, or not there, or we are not root.
 */
export function otherOwner(directory: string): string | null {
  const owners = [lstatSync, statSync].map(
    (look) => look(directory, { throwIfNoEntry: false })?.uid
  )
  const other = owners.find(Boolean)
  return process.getuid?.() === 0 && other !== undefined ? nameOfUser(other) : null
}

function lookup(file: string, name: string): string[] | undefined {
  const lines = readFileSync(file, 'utf8')
    .split('\n')
    .map((line) => line.split(':'))
  return lines.find((fields) => fields[0] === name)
}

export function hasUser(name: string): boolean {
  return lookup('/etc/passwd', name) !== undefined
}

export function findUser(name: string): User {
  const entry = lookup('/etc/passwd', name)
  if (entry === undefined) {
    throw new UserError(
      'GITCACHE_USER',
      `there is no user ${name}`,
      "name nginx's user, such as www-data"
    )
  }
  return { name, uid: Number(entry[2]), gid: Number(entry[3]) }
}

export function groupId(name: string): number {
  const entry = lookup('/etc/group', name)
  if (entry === undefined) {
    throw new UserError(
      'GITCACHE_GROUP',
      `there is no group ${name}`,
      "name the group of nginx's user"
    )
  }
  return Number(entry[2])
}

/**
 * test(1) as that user and all of his groups, as nginx runs (initgroups(3)): the kernel knows about
 * every directory on the way. Needs root.
 */
export function canReach(user: User, file: string, access: '-x' | '-r' | '-w'): boolean {
  const as = [`--reuid=${user.uid}`, `--regid=${user.gid}`, '--init-groups']
  return spawnSync('setpriv', [...as, 'test', access, file], { cwd: '/' }).status === 0
}
