/** From the request target on this server to the one on upstream, and back for a Location. */

export interface Addresses {
  /** Scheme and authority of the operator's proxy_pass target, `http://forge`. */
  upstream: string
  /** Path prefix on this server, and what stands there instead on upstream. */
  prefix: string
  upstreamPrefix: string
}

/** As the client wrote it: nginx puts its bytes there. */
export const UNCHANGED = 'unchanged'

/**
 * The client's request target on upstream, as the operator's proxy_pass would send it: normalised where
 * it replaces a prefix (a raw `..` would climb out of it) or a `rewrite` came before, else UNCHANGED.
 * `uri`: normalised, `$uri`; `raw`: `$request_uri`; a character of both is a byte. Empty, of which nginx
 * makes a 500, where what stands in the prefix's place begins with no slash: it would be more of the
 * host's name.
 */
export function replacedTarget(addresses: Addresses, uri: string, raw: string): string {
  const from = addresses.prefix
  const to = addresses.upstreamPrefix
  if (to !== '' && to.charAt(0) !== '/') {
    return ''
  }
  const isReplaced = from + to !== '' && uri.indexOf(from + '/') === 0
  if (!isReplaced && isNormalised(uri, raw)) {
    return UNCHANGED
  }
  const path = isReplaced ? to + uri.substring(from.length) : uri
  const query = raw.indexOf('?') < 0 ? '' : raw.substring(raw.indexOf('?'))
  return (
    addresses.upstream +
    path.replace(ESCAPED, percentEncoded) +
    query.replace(/[^!-~]/g, percentEncoded)
  )
}

/** ngx_escape_uri, and what RFC 3986 has in no path. */
const ESCAPED = /[^A-Za-z0-9;,/:@&=+$\-_.!~*'()]/g

function percentEncoded(byte: string): string {
  return '%' + ('0' + byte.charCodeAt(0).toString(16).toUpperCase()).slice(-2)
}

/**
 * Whether it is what nginx makes of `raw` (ngx_http_parse_complex_uri), so that nothing was rewritten. In
 * doubt it is not: raw, it would lead past the operator's rewrite.
 */
function isNormalised(uri: string, raw: string): boolean {
  const path = (raw.split(/[?#]/)[0] as string).replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) =>
    String.fromCharCode(parseInt(hex, 16))
  )
  return uri === withoutDots(path) || uri === withoutDots(path.replace(/\/{2,}/g, '/'))
}

function withoutDots(path: string): string {
  const kept: string[] = []
  path.split('/').forEach((segment) => {
    if (segment === '..') kept.pop()
    else if (segment !== '.') kept.push(segment)
  })
  return kept.join('/')
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
