/** What clients and operators see of an answer that is not upstream's own, and of one that is. */
import { passed } from '../act.ts'
import { clientLocation } from '../target.ts'
import type { NginxRequest } from './ngx.ts'
import { isOn, readAddresses } from './settings.ts'

/** js_header_filter where the answer is made: says how. */
export function resultHeader(r: NginxRequest): void {
  if (r.variables['gitcache_header'] === 'on') {
    r.headersOut['X-Git-Cache'] = r.variables['gitcache_result'] || ''
  }
}

/** The same of a pass; and what the operator's proxy_redirect would do. */
export function passHeaders(r: NginxRequest): void {
  const result = r.variables['gitcache_result'] || ''
  // A file that nginx cannot read, a stream that did not begin.
  if (result !== '' && result.indexOf('pass') !== 0) {
    r.variables['gitcache_result'] = passed('store').result
  }
  resultHeader(r)
  const location = r.headersOut['Location']
  if (typeof location === 'string' && isOn(r, 'gitcache_location_rewrite')) {
    const rewritten = clientLocation(readAddresses(r), location)
    // Where it stays, it stays byte for byte: setting it changes the header's name, or makes it absolute.
    if (rewritten !== location) {
      r.headersOut['Location'] = rewritten
    }
  }
}
