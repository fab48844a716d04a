/** `nginx-git-cache check`: what is wrong with a set-up, before nginx is reloaded, and its fix. */
import { serveConfig } from '../config.ts'
import { UserError } from '../errors.ts'
import { one, type RawOptions, unknownTwins } from '../options.ts'
import type { Upstream } from '../upstreams.ts'
import { askNjsVersion } from './ask-njs.ts'
import { checkBothSides, checkReach } from './check-both-sides.ts'
import { checkConfiguration, checkNjs, checkVersions } from './check-nginx.ts'
import { checkPlaces } from './check-places.ts'
import { checkUpstream, NO_UPSTREAM } from './check-upstream.ts'
import { findNginx, type Nginx } from './find-nginx.ts'
import { type Finding, fail, ok, warn } from './finding.ts'
import { usableGit } from './git-version.ts'
import { dumpConfiguration, withoutComments } from './nginx-dump.ts'

export async function check(raw: RawOptions): Promise<void> {
  const nginx = findNginx()
  const conf = one(raw, 'nginx-conf') ?? ''
  // What serve would refuse is said at once.
  const { upstreams } = serveConfig(raw)
  const dump = dumpConfiguration(nginx, conf)
  const findings: Finding[] = [
    await checkGit(),
    ...unknownTwins(process.env).map((name) => warn(`${name} is no setting`, 'see --help')),
    ...(typeof dump === 'string' ? await checkNginx(dump, nginx, upstreams, raw) : [dump]),
    ...(upstreams.length === 0 ? [NO_UPSTREAM] : []),
    ...(await Promise.all(upstreams.map((one) => checkUpstream(one, raw)))),
  ]
  const lines = findings.map(
    ({ level, text, fix }) => `${level.padEnd(5)}${text}${fix ? `: ${fix}` : ''}`
  )
  // Several places have one upstream.
  for (const line of new Set(lines)) console.log(line)
  const failed = findings.filter((finding) => finding.level === 'fail').length
  if (failed > 0) {
    throw new UserError(
      'GITCACHE_CHECK',
      `${failed} of ${findings.length} checks failed`,
      'see above'
    )
  }
}

/** What nginx takes, and may be wrong all the same. */
async function checkNginx(
  dump: string,
  nginx: Nginx,
  upstreams: readonly Upstream[],
  raw: RawOptions
): Promise<Finding[]> {
  const configuration = withoutComments(dump)
  return [
    checkNjs(await askNjsVersion(nginx), configuration),
    checkVersions(dump),
    ...checkConfiguration(configuration, upstreams),
    ...checkBothSides(configuration, raw),
    ...checkPlaces(dump),
    ...(await checkReach(configuration, nginx)),
  ]
}

async function checkGit(): Promise<Finding> {
  try {
    return ok(`git ${await usableGit()}`)
  } catch (error) {
    if (!(error instanceof UserError)) throw error
    return fail(error.message, error.hint)
  }
}
