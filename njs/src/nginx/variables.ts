/** Values of nginx variables (js_set). */
import { refsOf, replacedTarget as replaced } from '../target.ts'
import type { NginxRequest } from './ngx.ts'
import { readAddresses } from './settings.ts'

/** js_set of $gitcache_replaced_target: where proxy_pass replaces a prefix. */
export function replacedTarget(r: NginxRequest): string {
  return replaced(readAddresses(r), r.variables['uri'] || '', r.variables['request_uri'] || '')
}

/** js_set of $gitcache_refs_target. */
export function refsTarget(r: NginxRequest): string {
  return refsOf(r.variables['gitcache_target'] || '')
}
