/** Gitea as its users see it, straight and through the caches. */
import { type GiteaUser, giteaApi, type Repository } from './gitea-api.ts'
import { client, dataOf, must, results, sh, stack, uniqueId, untilMirrored } from './servers.ts'
import type { Suite } from './stack.ts'

export const FORGE = 'http://gitea:3000'
export const forgeThrough = (suite: Suite): string => `http://nginx-${suite}:8081`

export function forge() {
  const { url, admin } = stack().gitea
  return giteaApi(url, admin)
}

/** How a client says who it is: options for git. */
export const BASIC = (who: Pick<GiteaUser, 'user' | 'token'>): string =>
  `-c http.extraHeader='Authorization: Basic ${btoa(`${who.user}:${who.token}`)}'`
export const BEARER = (who: Pick<GiteaUser, 'token'>): string =>
  `-c http.extraHeader='Authorization: Bearer ${who.token}'`
export const ANONYMOUS = ''

export interface Seen {
  code: number
  out: string
  /** How the fetches were answered. */
  how: string
}

/**
 * Runs a script with $GIT and $URL in an empty directory; what is in ./c afterwards is in `out`,
 * with the names of both servers and all temporary directories made equal.
 */
export async function as(who: string, suite: Suite, origin: string, script: string): Promise<Seen> {
  const id = uniqueId('forge')
  const { code, out } = await sh(
    client(suite),
    `. /w/state.sh
export GIT_TERMINAL_PROMPT=0
GIT="git -c gc.auto=0 -c http.extraHeader=X-Test:${id}"
g() { $GIT ${who} "$@"; }
mkdir -p /w/work/${id} && cd /w/work/${id} || exit 9
( set -e; ${script} ); code=$?
[ -d c/.git ] && state c full
cd / && rm -rf /w/work/${id}
exit $code`,
    { URL: origin }
  )
  const normal = out.replaceAll(origin, 'URL').replaceAll(id, 'ID')
  return { code, out: normal, how: results(suite, id).join(',') }
}

/** Clones until the mirror is there. */
export async function warmForge(suite: Suite, who: string, repository: Repository): Promise<void> {
  const name = `/${repository.owner}/${repository.name}`
  const script = `export GIT_LFS_SKIP_SMUDGE=1; g clone -q $URL${name}.git c`
  const { code, out } = await as(who, suite, forgeThrough(suite), script)
  if (code !== 0) throw new Error(`warming ${repository.name}: ${out}`)
  await untilMirrored(dataOf(suite), name)
}

/** A repository of an owner with the history of one of upstream's. */
export async function fillRepository(
  suite: Suite,
  owner: GiteaUser,
  repository: Repository,
  refs = 'refs/heads/main refs/heads/side-1 refs/tags/v1'
): Promise<void> {
  const dir = `/w/work/${uniqueId('fill')}`
  const url = `${FORGE}/${repository.owner}/${repository.name}.git`
  await must(
    client(suite),
    `git clone -q --mirror http://upstream/pub/main.git ${dir}
git -C ${dir} ${BASIC(owner)} push -q ${url} ${refs}; code=$?
rm -rf ${dir}; exit $code`
  )
}
