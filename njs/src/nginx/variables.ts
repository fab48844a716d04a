/** Values of nginx variables (js_set). */
import { refsOf, replacedTarget as replaced } from '../target.ts'
import type { NginxRequest } from './ngx.ts'
import { readAddresses } from './settings.ts'

/** The internal locations of gitcache-location.conf. */
const INTERNAL = /\/_gitcache\/[a-z]+\/git-upload-pack$/

/** js_set of $gitcache_replaced_target: what is not plain, or replaced, or rewritten. */
export function replacedTarget(r: NginxRequest): string {
  const uri = r.variables['uri'] || ''
  // Without a base it is a path of the client's own that looks like one of ours.
  const own = r.variables['gitcache_base'] ? uri.replace(INTERNAL, '/git-upload-pack') : uri
  return replaced(readAddresses(r), own, r.variables['request_uri'] || '')
}

/** js_set of $gitcache_refs_target. */
export function refsTarget(r: NginxRequest): string {
  return refsOf(r.variables['gitcache_target'] || '')
}
