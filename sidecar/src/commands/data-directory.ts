/** The data directory, made where it is not there; what is wrong with it is said in one line. */
import { execFileSync } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { MAX_SOCKET_NAME } from '../address.ts'
import { UserError } from '../errors.ts'

/** Less what stands below `sidecar/`. */
const MAX_DATA = MAX_SOCKET_NAME - '/sidecar/lock-4194304-ffff'.length

/** `inside`: directories to be made in it. Throws UserError. */
export function makeDataDirectory(data: string, inside: string[]): void {
  if (Buffer.byteLength(data) > MAX_DATA) {
    throw new UserError(
      'GITCACHE_DATA',
      `--data ${data} is too long for a socket in it`,
      'give a shorter one'
    )
  }
  try {
    // mkdir(1): Node's own never comes back from a directory in /proc.
    execFileSync('mkdir', ['-p', ...inside], { stdio: 'pipe' })
    for (const dir of inside) accessSync(dir, constants.W_OK | constants.X_OK)
  } catch (error) {
    const said = String((error as { stderr?: Buffer }).stderr ?? error).trim()
    const why = said.split('\n')[0]?.split(': ').pop()
    throw new UserError(
      'GITCACHE_DATA',
      `--data ${data} cannot be written: ${why}`,
      'give another directory, or this one to the user who runs this'
    )
  }
}
