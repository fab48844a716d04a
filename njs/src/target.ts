/** From the request target on this server to the one on upstream, and back for a Location. */

export interface Addresses {
  /** Scheme and authority of the operator's proxy_pass target, `http://forge`. */
  upstream: string
  /** Path prefix on this server, and what stands there instead on upstream. */
  prefix: string
  upstreamPrefix: string
}

/**
 * The client's request target on upstream, with the prefix replaced. `uri`: normalised, `$uri`; `raw`:
 * `$request_uri`. proxy_pass with a path sends the normalised URI too: a raw `..` would climb out of
 * the prefix.
 */
export function replacedTarget(settings: Addresses, uri: string, raw: string): string {
  const own = uri.replace(/\/_gitcache\/[a-z]+\/git-upload-pack$/, '/git-upload-pack')
  const escaped = encodeURI(own.substring(settings.prefix.length))
  const query = raw.indexOf('?') < 0 ? '' : raw.substring(raw.indexOf('?'))
  const base = settings.upstream + settings.upstreamPrefix
  return base + escaped.replace(/[?#]/g, encodeURIComponent) + query
}

/** Where upstream advertises the refs of the repository that `target` fetches from. */
export function refsOf(target: string): string {
  return target.replace(/git-upload-pack$/, 'info/refs?service=git-upload-pack')
}

/** What proxy_redirect does by default, which it does not with variables in proxy_pass. */
export function clientLocation(settings: Addresses, location: string): string {
  const base = settings.upstream + settings.upstreamPrefix + '/'
  return location.indexOf(base) === 0
    ? settings.prefix + '/' + location.substring(base.length)
    : location
}
