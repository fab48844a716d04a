/** What the operator sets in nginx, read from variables: `gitcache-http.conf` has the defaults. */
import type { NginxRequest } from './ngx.ts'
import type { Addresses } from './target.ts'

export interface Settings extends Addresses {
  enabled: boolean
  packs: string
  maxTags: number
  njsOverride: boolean
  secret: string
  locationRewrite: boolean
  resultHeader: boolean
}

export function readSettings(r: NginxRequest): Settings {
  const v = r.variables
  return {
    enabled: v['gitcache_enabled'] === 'on',
    upstream: v['gitcache_upstream'] || '',
    prefix: v['gitcache_prefix'] || '',
    upstreamPrefix: v['gitcache_upstream_prefix'] || '',
    packs: v['gitcache_packs'] || '',
    maxTags: parseInt(v['gitcache_max_tags'] || '', 10) || 0,
    njsOverride: v['gitcache_njs_override'] === 'on',
    secret: v['gitcache_secret'] || '',
    locationRewrite: v['gitcache_location_rewrite'] === 'on',
    resultHeader: v['gitcache_header'] === 'on',
  }
}
