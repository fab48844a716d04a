/** Values of nginx variables (js_set). */
import { refsOf, replacedTarget as replaced } from '../target.ts'
import type { NginxRequest } from './ngx.ts'

/** The internal locations of gitcache-location.conf. */
const INTERNAL = /\/_gitcache\/[a-z]+\/git-upload-pack$/

/** js_set of $gitcache_replaced_target: what is not plain, or replaced, or rewritten. */
export function replacedTarget(r: NginxRequest): string {
  const uri = bytesOf(r.rawVariables['uri'])
  // Without a base it is a path of the client's own that looks like one of ours.
  const own = r.variables['gitcache_base'] ? uri.replace(INTERNAL, '/git-upload-pack') : uri
  const addresses = {
    upstream: r.variables['gitcache_upstream'] || '',
    prefix: bytesOf(r.rawVariables['gitcache_prefix']),
    upstreamPrefix: bytesOf(r.rawVariables['gitcache_upstream_prefix']),
  }
  return replaced(addresses, own, bytesOf(r.rawVariables['request_uri']))
}

/** js_set of $gitcache_refs_target. */
export function refsTarget(r: NginxRequest): string {
  return refsOf(r.variables['gitcache_target'] || '')
}

/** A character for each byte: paths need be no UTF-8, and njs would read two of them as one. */
function bytesOf(value: Buffer | undefined): string {
  let text = ''
  for (let i = 0; value !== undefined && i < value.length; i++) {
    text += String.fromCharCode(value[i] as number)
  }
  return text
}
