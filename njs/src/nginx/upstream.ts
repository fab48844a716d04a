/** Upstream's word for this client, asked in subrequests. */
import { decoded, encodedAs, sourceOf, textOf } from '../bytes.ts'
import { authorize, type Upstream, type Verdict } from '../git/authorize.ts'
import type { FetchRequest } from '../git/fetch-request.ts'
import { secondsToHold } from '../git/retry-after.ts'
import { sha256 } from '../stored.ts'
import { endWatch, isOver, MAX_ANSWER, startWatch } from './bounded.ts'
import { internal, type NginxRequest, type SubrequestOptions } from './ngx.ts'
import type { Settings } from './settings.ts'

/** Asks upstream in subrequests, which carry the client's headers and the operator's. */
export async function authorizeInTime(
  r: NginxRequest,
  settings: Settings,
  request: FetchRequest
): Promise<Verdict> {
  r.variables['gitcache_result'] = 'pass; reason=no-answer'
  const watch = startWatch(r)
  const verdict = await authorize(request, upstreamOf(r, settings))
  endWatch(watch)
  return verdict
}

function upstreamOf(r: NginxRequest, settings: Settings): Upstream {
  return {
    probe: (body) => ask(r, 'probe', body).then(said),
    lsRefs: (body) => ask(r, 'tags', body).then((answer) => textOf(answer.body)),
    advertisement: () => ask(r, 'refs', null).then((answer) => sourceOf(answer.body)),
    unknownOid: (digits) => unknownOid(r, digits),
    maxTags: settings.maxTags,
  }
}

/** $request_id is random (RAND_bytes); the count makes a second probe of the request another. */
function unknownOid(r: NginxRequest, digits: number): string {
  const count = r.variables['gitcache_probes'] + '.'
  r.variables['gitcache_probes'] = count
  return sha256(r.variables['request_id'] + count).slice(0, digits)
}

interface Answer {
  status: number
  /** In full, inflated; null where that cannot be had, or the status is not 200. */
  body: Buffer | null
}

function said(answer: Answer): string | number | null {
  return answer.status === 200 ? textOf(answer.body) : answer.status
}

async function ask(r: NginxRequest, location: string, body: string | null): Promise<Answer> {
  const size = location === 'probe' ? 'gitcache_answer_size' : 'gitcache_tags_size'
  r.variables[size] = '0'
  const options: SubrequestOptions = {
    method: body === null ? 'GET' : 'POST',
    body: encodedAs(body || '', r.headersIn['Content-Encoding'] || ''),
  }
  const first = await r.subrequest(internal(r, location), options)
  // A kept connection that upstream has closed. nginx's own next try sends no body before njs 1.0.
  const reply = first.status === 502 ? await r.subrequest(internal(r, location), options) : first
  if (isOver(r, size) || reply.status !== 200 || reply.responseBuffer === undefined) {
    const seconds = secondsToHold(reply.status, String(reply.headersOut['Retry-After'] || ''))
    if (seconds > 0) r.variables['gitcache_hold'] = String(seconds)
    return { status: reply.status, body: null }
  }
  const encoding = reply.headersOut['Content-Encoding']
  return { status: 200, body: decoded(reply.responseBuffer, encoding, MAX_ANSWER) }
}
