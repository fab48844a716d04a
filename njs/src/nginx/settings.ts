/** What the operator sets in nginx, read from variables: `gitcache-http.conf` has the defaults. */
import type { Addresses } from '../target.ts'
import type { NginxRequest } from './ngx.ts'

export interface Settings extends Addresses {
  enabled: boolean
  packs: string
  maxTags: number
  njsOverride: boolean
  secret: string
  locationRewrite: boolean
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
    prefix: v['gitcache_prefix'] || '',
    upstreamPrefix: v['gitcache_upstream_prefix'] || '',
    enabled: v['gitcache_enabled'] === 'on',
    packs: v['gitcache_packs'] || '',
    maxTags: Math.max(0, parseInt(v['gitcache_max_tags'] || '', 10) || 0),
    njsOverride: v['gitcache_njs_override'] === 'on',
    secret: v['gitcache_secret'] || '',
    locationRewrite: v['gitcache_location_rewrite'] === 'on',
  }
}
