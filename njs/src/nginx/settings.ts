/**
 * What the operator sets in nginx, read from variables: `gitcache-http.conf` has the defaults. Each
 * where it is needed: to read one costs njs half a microsecond.
 */
import type { Addresses } from '../target.ts'
import type { NginxRequest } from './ngx.ts'

export interface Settings {
  /** Scheme and authority of the operator's proxy_pass target, `http://forge`. */
  upstream: string
  /** What of the request may choose among the hosts that answer there: the client writes it. */
  vhost: string
  /** Where stored answers are. */
  packs: string
}

export function readAddresses(r: NginxRequest): Addresses {
  return {
    upstream: r.variables['gitcache_upstream'] || '',
    prefix: r.variables['gitcache_prefix'] || '',
    upstreamPrefix: r.variables['gitcache_upstream_prefix'] || '',
  }
}

export function readSettings(r: NginxRequest): Settings {
  const v = r.variables
  return {
    upstream: v['gitcache_upstream'] || '',
    vhost: v['gitcache_vhost'] || '',
    packs: v['gitcache_packs'] || '',
  }
}

type Switch = 'gitcache_enabled' | 'gitcache_njs_override' | 'gitcache_location_rewrite'

export function isOn(r: NginxRequest, name: Switch): boolean {
  return r.variables[name] === 'on'
}

export function readMaxTags(r: NginxRequest): number {
  return Math.max(0, parseInt(r.variables['gitcache_max_tags'] || '', 10) || 0)
}
