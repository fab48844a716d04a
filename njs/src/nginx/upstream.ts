/** Upstream's word for this client, asked in subrequests. */
import { bufferSource, decoded, encodedAs } from '../bytes.ts'
import { authorize, type Upstream, type Verdict } from '../git/authorize.ts'
import type { FetchRequest } from '../git/fetch-request.ts'
import type { PktSource } from '../git/pkt-line.ts'
import { secondsToHold } from '../git/retry-after.ts'
import { endWatch, isOver, MAX_ANSWER, startWatch } from './bounded.ts'
import { internal, type NginxRequest, type SubrequestOptions } from './ngx.ts'
import { readMaxTags } from './settings.ts'

/** Asks upstream in subrequests, which carry the client's headers and the operator's. */
export async function authorizeInTime(r: NginxRequest, request: FetchRequest): Promise<Verdict> {
  r.variables['gitcache_result'] = 'pass; reason=no-answer'
  const watch = startWatch(r)
  try {
    return await authorize(request, upstreamOf(r))
  } finally {
    endWatch(watch)
  }
}

function upstreamOf(r: NginxRequest): Upstream {
  return {
    probe: (body) => ask(r, 'probe', body).then(asciiOrStatus),
    lsRefs: (body) => ask(r, 'tags', body).then(textOrNull),
    advertisement: () => ask(r, 'refs', null).then(sourceOrNull),
    unknownOid: (digits) => unknownOid(r, digits),
    maxTags: () => readMaxTags(r),
  }
}

/** $request_id is random (RAND_bytes), 128 bits in hex. */
function unknownOid(r: NginxRequest, digits: number): string {
  const id = r.variables['request_id'] as string
  return (id + id).substring(0, digits)
}

/** The body of a 200, in full and inflated; null where that cannot be had; or another status. */
type Answer = Buffer | number | null

function asciiOrStatus(answer: Answer): string | number | null {
  return answer === null || typeof answer === 'number' ? answer : answer.toString()
}

function textOrNull(answer: Answer): string | null {
  return answer === null || typeof answer === 'number' ? null : answer.toString()
}

function sourceOrNull(answer: Answer): PktSource | null {
  return answer === null || typeof answer === 'number' ? null : bufferSource(answer)
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
  if (reply.status !== 200) {
    const seconds = secondsToHold(reply.status, String(reply.headersOut['Retry-After'] || ''))
    if (seconds > 0) r.variables['gitcache_hold'] = String(seconds)
    return reply.status
  }
  if (isOver(r, size) || reply.responseBuffer === undefined) {
    return null
  }
  return decoded(reply.responseBuffer, reply.headersOut['Content-Encoding'], MAX_ANSWER)
}
