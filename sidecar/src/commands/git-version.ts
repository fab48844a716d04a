/** Whether the git of this machine will do. */
import { UserError } from '../errors.ts'
import { gitVersion } from '../git.ts'

/** Debian 12's. Older ones lack GIT_CONFIG_GLOBAL (2.32) and fixes of transfers that nobody checked (2.38). */
const OLDEST_GIT = [2, 39] as const

/** Its version. Throws UserError. */
export async function usableGit(): Promise<string> {
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
