/** Upstream's word for this client, asked in subrequests. */
import type { Told } from '../act.ts'
import { bufferSource, decoded, encodedAs } from '../bytes.ts'
import { authorize, type Upstream, type Verdict } from '../git/authorize.ts'
import { isOfGit } from '../git/classify.ts'
import type { FetchRequest } from '../git/fetch-request.ts'
import type { PktSource } from '../git/pkt-line.ts'
import { endWatch, isOver, MAX_ANSWER, startWatch } from './bounded.ts'
import { internal, type NginxReply, type NginxRequest, type SubrequestOptions } from './ngx.ts'
import { readMaxTags } from './settings.ts'

/** Upstream has too much to do, and said so to this client's probe: he need not ask to hear it again. */
export type Answered = Verdict | ({ kind: 'told' } & Told)

/** Asks upstream in subrequests, which carry the client's headers and the operator's. */
export async function authorizeInTime(r: NginxRequest, request: FetchRequest): Promise<Answered> {
  r.variables['gitcache_result'] = 'pass; reason=no-answer'
  const watch = startWatch(r)
  const refusals: Refusals = {}
  try {
    const verdict = await authorize(request, upstreamOf(r, refusals))
    return verdict.kind === 'pass' ? tell(r, refusals['probe']) || verdict : verdict
  } finally {
    endWatch(watch)
  }
}

/** The last answer of each location that is no 200. */
type Refusals = Record<string, NginxReply>

function upstreamOf(r: NginxRequest, refusals: Refusals): Upstream {
  return {
    probe: (body) => ask(r, 'probe', body, refusals).then(asciiOrStatus),
    lsRefs: (body) => ask(r, 'tags', body, refusals).then(textOrNull),
    advertisement: () => ask(r, 'refs', null, refusals).then(sourceOrNull),
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

async function ask(
  r: NginxRequest,
  location: string,
  body: string | null,
  refusals: Refusals
): Promise<Answer> {
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
    refusals[location] = reply
    return reply.status
  }
  const isYes = isOfGit(reply.headersOut['Content-Type'], body === null)
  if (isOver(r, size) || reply.responseBuffer === undefined || !isYes) {
    return null
  }
  return decoded(reply.responseBuffer, reply.headersOut['Content-Encoding'], MAX_ANSWER)
}

/** Of the connection, or nginx's own. */
const NOT_HANDED_ON =
  /^(?:connection|content-encoding|content-length|date|keep-alive|server|trailer|transfer-encoding|upgrade)$/i

/** 429, and 503 with Retry-After, word for word; null for all else, and where that cannot be had. */
function tell(r: NginxRequest, reply: NginxReply | undefined): Answered | null {
  if (reply === undefined || !isOverloaded(reply) || isOver(r, 'gitcache_answer_size')) {
    return null
  }
  const said = reply.responseBuffer
  const body =
    said === undefined ? null : decoded(said, reply.headersOut['Content-Encoding'], MAX_ANSWER)
  // nginx would go to the error_page, or add a type.
  if (body === null || body.length === 0 || reply.headersOut['Content-Type'] === undefined) {
    return null
  }
  const headers: Told['headers'] = {}
  Object.keys(reply.headersOut).forEach((name) => {
    if (!NOT_HANDED_ON.test(name)) headers[name] = reply.headersOut[name] as string
  })
  return { kind: 'told', status: reply.status, headers, body }
}

function isOverloaded(reply: NginxReply): boolean {
  return (
    reply.status === 429 || (reply.status === 503 && reply.headersOut['Retry-After'] !== undefined)
  )
}
