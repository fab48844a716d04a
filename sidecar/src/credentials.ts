/**
 * The client's own headers, as nginx would have sent them to upstream, for git and for probes.
 * They travel in the environment (readable by our user only), never in argv, URLs or files.
 */
import { isUtf8 } from 'node:buffer'
import type { IncomingHttpHeaders } from 'node:http'
import { Pass } from './protocol.ts'
import type { Upstream } from './upstreams.ts'

/** Headers about the body, the connection or the protocol. No Accept-Encoding: what comes is stored. */
const OWN =
  /^(content-.*|transfer-encoding|accept-encoding|expect|range|if-.*|te|trailer|connection|keep-alive|upgrade|proxy-.*|host|git-protocol)$/

/** What git says for itself. */
const GITS = /^(accept(-.*)?|user-agent|pragma|cache-control)$/

/** What nginx calls the sidecar where the operator's location sets no Host. */
export const SIDECAR_HOST = 'gitcache_sidecar'

export type ForwardedHeaders = [name: string, value: string][]

export function forwardedHeaders(
  headers: IncomingHttpHeaders,
  upstream: Upstream
): ForwardedHeaders {
  const forwarded: ForwardedHeaders = []
  for (const [name, value] of Object.entries(headers)) {
    if (!OWN.test(name) && value !== undefined) {
      for (const one of Array.isArray(value) ? value : [value]) forwarded.push([name, one])
    }
  }
  return [...forwarded, ['host', hostFor(headers.host, upstream)]]
}

/** nginx sends the name in proxy_pass where the operator sets no Host; so do we. */
function hostFor(host: string | undefined, upstream: Upstream): string {
  return host === undefined || host === SIDECAR_HOST ? new URL(upstream.name).host : host
}

/**
 * Node reads each byte of a header as a character, and writes the environment in UTF-8: what is no UTF-8
 * cannot be said there. Throws Pass.
 */
function asUtf8(value: string): string {
  const bytes = Buffer.from(value, 'latin1')
  if (!isUtf8(bytes)) {
    throw new Pass('error', 'a header that is no UTF-8')
  }
  return bytes.toString('utf8')
}

/** Configuration by environment: git-config(1), `GIT_CONFIG_COUNT`. Throws Pass. */
export function gitEnvironment(
  headers: ForwardedHeaders,
  upstream: Upstream
): Record<string, string> {
  const settings: [string, string][] = headers
    .filter(([name]) => !GITS.test(name))
    .map(([name, value]) => [`http.${upstream.url}.extraHeader`, `${name}: ${asUtf8(value)}`])
  if (upstream.caFile) settings.push(['http.sslCAInfo', upstream.caFile])
  if (upstream.clientCert) settings.push(['http.sslCert', upstream.clientCert])
  if (upstream.clientKey) settings.push(['http.sslKey', upstream.clientKey])
  settings.push(['http.proxy', upstream.proxy ?? ''])
  const env: Record<string, string> = { GIT_CONFIG_COUNT: String(settings.length) }
  settings.forEach(([key, value], i) => {
    env[`GIT_CONFIG_KEY_${i}`] = key
    env[`GIT_CONFIG_VALUE_${i}`] = value
  })
  return env
}
