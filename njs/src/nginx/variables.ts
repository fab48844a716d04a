/** Values of nginx variables (js_set). */
import { refsOf, upstreamTarget } from '../target.ts'
import type { NginxRequest } from './ngx.ts'
import { readAddresses } from './settings.ts'

/** js_set of $gitcache_target. */
export function target(r: NginxRequest): string {
  return upstreamTarget(
    readAddresses(r),
    r.variables['uri'] || '',
    r.variables['request_uri'] || ''
  )
}

/** js_set of $gitcache_refs_target. */
export function refsTarget(r: NginxRequest): string {
  return refsOf(target(r))
}
