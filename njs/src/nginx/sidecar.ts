/** Questions to the sidecar, asked in subrequests. Shapes: sidecar/src/protocol.ts. */
import { isJob, NO_SIDECAR, readState, type SidecarState } from '../act.ts'
import type { Verdict } from '../git/authorize.ts'
import { writeCanonicalRequest } from '../git/canonical.ts'
import type { FetchRequest } from '../git/fetch-request.ts'
import type { Repository } from '../git/key.ts'
import { isOver } from './bounded.ts'
import { internal, type NginxRequest, type SubrequestOptions } from './ngx.ts'
import { readMaxTags } from './settings.ts'

/** Orders the answer to what upstream has just allowed. */
export async function prepare(
  r: NginxRequest,
  of: Repository,
  key: string,
  yes: Extract<Verdict, { kind: 'yes' }>
): Promise<SidecarState> {
  const order = {
    key,
    family: yes.request.family,
    request: writeCanonicalRequest(yes.request),
    tags: yes.tags,
    maxTags: readMaxTags(r),
    progress: !yes.request.noProgress,
  }
  return ask(r, 'prepare', orderOf(r, of, order))
}

/** Orders upstream's own answer to this client, who has not been probed. */
export async function lead(
  r: NginxRequest,
  of: Repository,
  request: FetchRequest
): Promise<SidecarState> {
  const order = {
    lead: writeCanonicalRequest(request),
    family: request.family,
    progress: !request.noProgress,
  }
  return ask(r, 'prepare', orderOf(r, of, order))
}

/** Hands the client's own body over: first who he is and what for, then the body as it is. */
export async function readBySidecar(r: NginxRequest, of: Repository): Promise<SidecarState> {
  const ticket = await ask(r, 'ticket', orderOf(r, of, { maxTags: readMaxTags(r) }))
  if (ticket.state !== 'ticket' || !isJob(ticket.job)) {
    return ticket
  }
  r.variables['gitcache_job'] = ticket.job
  return ask(r, 'read', null)
}

/** What every order says, and what this one adds. */
function orderOf(r: NginxRequest, of: Repository, more: object): string {
  const head = {
    secret: r.variables['gitcache_secret'] || '',
    id: r.variables['request_id'],
    client: r.remoteAddress,
    upstream: of.upstream,
    vhost: of.vhost,
    path: of.path,
  }
  return JSON.stringify(Object.assign(head, more))
}

/** `body` null: the client's own. */
async function ask(
  r: NginxRequest,
  location: 'prepare' | 'ticket' | 'read',
  body: string | null
): Promise<SidecarState> {
  r.variables['gitcache_result'] = 'pass; reason=sidecar'
  r.variables['gitcache_answer_size'] = '0'
  const options: SubrequestOptions = body === null ? { method: 'POST' } : { method: 'POST', body }
  const reply = await r.subrequest(internal(r, location), options)
  if (isOver(r, 'gitcache_answer_size') || reply.status !== 200) {
    return NO_SIDECAR
  }
  return readState(reply.responseBuffer === undefined ? null : reply.responseBuffer.toString())
}
