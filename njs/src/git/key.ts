/**
 * The name of a stored answer: everything that shapes it, and nothing else. Repository and
 * upstream are in it, or one repository's pack would be served under another's path.
 */
import { writeCanonicalRequest } from './canonical.ts'
import type { FetchRequest } from './fetch-request.ts'
import { repositoryId } from './repository-path.ts'

const KEY_VERSION = 'nginx-git-cache 3'

/** Where an answer comes from. */
export interface Repository {
  /** Scheme and authority of the operator's proxy_pass target, `http://forge`. */
  upstream: string
  /** $gitcache_vhost: what may choose among the hosts that answer there. */
  vhost: string
  /** The repository's path on it, as the client spelt it. */
  path: string
}

export interface KeyScope {
  upstream: string
  vhost: string
  /** From `repositoryId`. */
  repository: string
  /** Hash of the tag state where the request has include-tag, else ''. */
  tagState: string
}

/** The text whose sha256 is the key: where it comes from, which tags there are, and what is asked. */
export function keyText(request: FetchRequest, scope: KeyScope): string {
  return (
    KEY_VERSION +
    ('\nupstream ' + scope.upstream) +
    ('\nvhost ' + scope.vhost) +
    ('\nrepository ' + scope.repository) +
    ('\ntag-state ' + (request.includeTag ? scope.tagState : '')) +
    ('\n' + writeCanonicalRequest(request))
  )
}

/** The key of an answer. `sha256` gives lower-case hexadecimal: no runtime is named here. */
export function keyOf(
  sha256: (text: string) => string,
  request: FetchRequest,
  tags: string | null,
  of: Repository
): string {
  const scope = {
    upstream: of.upstream,
    vhost: of.vhost,
    repository: repositoryId(of.path),
    tagState: tags === null ? '' : sha256(tags),
  }
  return sha256(keyText(request, scope))
}
