/**
 * What nginx calls. The only file that touches `r`.
 *
 * Dialect: handlers are flat, at module level and const where a closure reads (njs before 0.9.1
 * miscompiles async functions whose captured variables change). Nothing runs at module top level:
 * it would run again for every request.
 */
import {
  type Act,
  follow,
  hit,
  isJob,
  NO_SIDECAR,
  passed,
  type Refusal,
  readState,
  type SidecarState,
} from './act.ts'
import { bufferSource, decoded, encodedAs, sourceOf, textOf } from './bytes.ts'
import { authorize, type Upstream, type Verdict } from './git/authorize.ts'
import { writeCanonicalRequest } from './git/canonical.ts'
import { isGzip, parseBody, type RequestHead, refuseHead } from './git/classify.ts'
import type { FetchRequest } from './git/fetch-request.ts'
import { announcedSize, isGzipped } from './git/gzip.ts'
import { keyOf } from './git/key.ts'
import type { PktSource } from './git/pkt-line.ts'
import type { Reason } from './git/reasons.ts'
import { parseRepositoryPath, stripPrefix } from './git/repository-path.ts'
import { secondsToHold } from './git/retry-after.ts'
import type { NginxRequest, SubrequestOptions } from './ngx.ts'
import { crashesInSubrequests } from './njs-version.ts'
import { readAddresses, readSettings, type Settings } from './settings.ts'
import { isHeld, isStored, sha256 } from './stored.ts'
import { clientLocation, refsOf, upstreamTarget } from './target.ts'

/** Bodies up to this size, inflated, are read here; larger ones would stop the worker too long. */
const MAX_BODY = 256 * 1024
/** pkt-lines of at least 50 bytes: more lines than fit into MAX_BODY are none of git's. */
const MAX_LINES = 6000
/** Bound on what upstream may answer; subrequest_output_buffer_size in gitcache-location.conf is larger. */
const MAX_ANSWER = 512 * 1024
/** Then the connection is cut: whoever waited for it was passed long before. */
const MAX_SWALLOWED = 1024 * 1024 * 1024
/** An upstream that drips its answer is given up on after this many milliseconds. */
const PROBE_TIMEOUT = 15000
const WATCH_PERIOD = 200
const MAX_TICKS_OVER = 5
/** A yes that is older than this when the answer is ready is asked again. Milliseconds. */
const MAX_YES_AGE = 30000

/** js_content of the main location: parse, decide, act. */
async function uploadPack(r: NginxRequest): Promise<void> {
  try {
    const act = await decide(r, readSettings(r))
    redirect(r, act)
  } catch (e) {
    r.error('gitcache: ' + (e as Error).message)
    redirect(r, passed('error'))
  }
}

function redirect(r: NginxRequest, act: Act): void {
  r.variables['gitcache_result'] = act.result
  r.variables['gitcache_file'] = act.file || ''
  r.variables['gitcache_job'] = act.job || ''
  if (act.refusal !== undefined) {
    refuseClient(r, act.refusal)
    return
  }
  // A filter in the location of hits would do this too, in a JavaScript context of its own.
  if (act.location === 'hit') {
    resultHeader(r)
  }
  r.internalRedirect(internal(r, act.location))
}

/** Upstream's word to another client who asked the same; nobody is sent to ask once more. */
function refuseClient(r: NginxRequest, refusal: Refusal): void {
  if (refusal.retryAfter !== '') {
    r.headersOut['Retry-After'] = refusal.retryAfter
  }
  resultHeader(r)
  r.headersOut['Content-Type'] = 'text/plain'
  // Without a text njs 0.7.9 would go to the error_page, which passes.
  r.return(refusal.status, 'upstream refused the same request just now\n')
}

function internal(r: NginxRequest, location: string): string {
  return r.variables['gitcache_base'] + '/_gitcache/' + location + '/git-upload-pack'
}

async function decide(r: NginxRequest, settings: Settings): Promise<Act> {
  r.variables['gitcache_method'] = r.method
  const head = readHead(r)
  const path = readPath(r, settings)
  const refused = refuse(r, settings, head, path)
  if (refused !== null) {
    return passed(refused)
  }
  if (r.variables['request_body_file'] || Number(head.contentLength) > MAX_BODY) {
    return readBySidecar(r, settings, path as string)
  }
  const body = await readBody(r, head)
  if (typeof body === 'string') {
    return body === 'body-size' ? readBySidecar(r, settings, path as string) : passed(body)
  }
  const parsed = parseBody(body, head.gitProtocol, MAX_LINES)
  if (parsed.kind === 'pass') {
    return passed(parsed.reason)
  }
  return answer(r, settings, path as string, parsed.request)
}

interface Head extends RequestHead {
  contentLength: string
}

function readHead(r: NginxRequest): Head {
  const h = r.headersIn
  const conditions = [
    h['Range'],
    h['If-Range'],
    h['If-Match'],
    h['If-None-Match'],
    h['If-Modified-Since'],
    h['If-Unmodified-Since'],
    h['TE'],
  ]
  return {
    method: r.method,
    contentType: h['Content-Type'] || '',
    contentEncoding: h['Content-Encoding'] || '',
    contentLength: h['Content-Length'] || '',
    gitProtocol: h['Git-Protocol'] || '',
    authorization: h['Authorization'] || '',
    conditions: conditions.filter((value) => value !== undefined).join(''),
  }
}

/** The repository's path on upstream, or null where we do not read it. */
function readPath(r: NginxRequest, settings: Settings): string | null {
  const path = parseRepositoryPath(r.variables['request_uri'] || '')
  const stripped = path === null ? null : stripPrefix(path, settings.prefix)
  return stripped === null ? null : settings.upstreamPrefix + stripped
}

function refuse(
  r: NginxRequest,
  settings: Settings,
  head: RequestHead,
  path: string | null
): Reason | null {
  if (!settings.enabled) {
    return 'disabled'
  }
  if (crashesInSubrequests(njs.version) && !settings.njsOverride) {
    r.error('gitcache: njs ' + njs.version + ' crashes workers in subrequests, all requests pass')
    return 'njs-version'
  }
  if (settings.upstream === '') {
    return 'no-upstream'
  }
  return path === null ? 'path' : refuseHead(head)
}

/** Null where there is none: njs gives nothing then, or a buffer whose length throws. */
function readRaw(r: NginxRequest): Buffer | null {
  try {
    const raw = r.requestBuffer
    return raw !== undefined && raw.length > 0 ? raw : null
  } catch {
    return null
  }
}

/** The body, inflated, or the reason why it is not read here. */
async function readBody(r: NginxRequest, head: RequestHead): Promise<PktSource | Reason> {
  const raw = readRaw(r)
  if (raw === null) {
    return 'empty'
  }
  if (raw.length > MAX_BODY) {
    return 'body-size'
  }
  if (!isGzip(head.contentEncoding)) {
    return bufferSource(raw)
  }
  // Bad gzip makes nginx close the connection, so look before leaping.
  if (!isGzipped(raw)) {
    return 'gzip'
  }
  if (announcedSize(raw) > MAX_BODY) {
    return 'body-size'
  }
  const reply = await r.subrequest(internal(r, 'gunzip'), { method: 'POST' })
  const inflated = reply.responseBuffer
  return reply.status === 200 && inflated ? bufferSource(inflated) : 'gzip'
}

/** Authorised by upstream, and then from the store or from the sidecar. */
async function answer(
  r: NginxRequest,
  settings: Settings,
  path: string,
  request: FetchRequest
): Promise<Act> {
  if (isHeld(settings.packs, settings.upstream)) {
    return passed('overloaded')
  }
  const asked = Date.now()
  const verdict = await authorizeInTime(r, settings, request)
  if (verdict.kind === 'pass') {
    return r.variables['gitcache_hold'] === '' ? passed(verdict.reason) : hold(r, settings, path)
  }
  const key = keyOf(sha256, verdict.request, verdict.tags, settings.upstream, path)
  if (isStored(settings.packs, key)) {
    return hit(settings.packs, key)
  }
  const state = await prepare(r, settings, path, key, verdict)
  if (state.state !== 'pass' && Date.now() - asked > MAX_YES_AGE) {
    const again = await authorizeInTime(r, settings, request)
    if (
      again.kind === 'pass' ||
      keyOf(sha256, again.request, again.tags, settings.upstream, path) !== key
    ) {
      return passed('stale')
    }
  }
  return follow(settings.packs, state)
}

/** Upstream has more to do than it can: nobody is asked for anybody until the time that it gave. */
async function hold(r: NginxRequest, settings: Settings, path: string): Promise<Act> {
  const order = { hold: Number(r.variables['gitcache_hold']) }
  await sidecar(r, 'hold', orderOf(r, settings, path, order))
  return passed('overloaded')
}

/** Asks upstream in subrequests, which carry the client's headers and the operator's. */
async function authorizeInTime(
  r: NginxRequest,
  settings: Settings,
  request: FetchRequest
): Promise<Verdict> {
  r.variables['gitcache_result'] = 'pass; reason=no-answer'
  const watch: Watch = { deadline: Date.now() + PROBE_TIMEOUT, over: 0 }
  r.variables['gitcache_probe_type'] = ''
  watchAnswers(r, watch)
  const verdict = await authorize(request, upstreamOf(r, settings))
  clearTimeout(watch.timer)
  return verdict
}

interface Watch {
  deadline: number
  /** Ticks since the answer was first seen to be too large. */
  over: number
  timer?: Parameters<typeof clearTimeout>[0]
}

/**
 * Looks every WATCH_PERIOD whether upstream has said more than it may, for longer than a large page
 * takes, or does not come to an end.
 */
function watchAnswers(r: NginxRequest, watch: Watch): void {
  const over = isOver(r, 'gitcache_probe_size') || isOver(r, 'gitcache_tags_size')
  watch.over = over ? watch.over + 1 : 0
  if (watch.over > MAX_TICKS_OVER || Date.now() > watch.deadline) {
    giveUp(r)
  } else {
    watch.timer = setTimeout(() => watchAnswers(r, watch), WATCH_PERIOD)
  }
}

function isGitType(type: string): boolean {
  return type.indexOf('application/x-git-upload-pack-') === 0
}

function isOver(r: NginxRequest, size: string): boolean {
  return Number(r.variables[size]) > MAX_ANSWER
}

/**
 * The end of waiting for an answer without end. Nothing closes a subrequest, and nginx holds a
 * redirect back while one is open. So the client gets at once what upstream has said so far, unless
 * that might be git's: a part of that would look whole. Then an exception in a timer, which ends
 * the request and all its subrequests on every njs version.
 */
function giveUp(r: NginxRequest): void {
  const type = r.variables['gitcache_probe_type'] || ''
  const status = type === '' || isGitType(type) ? 504 : 200
  resultHeader(r)
  r.headersOut['Content-Type'] = status === 200 ? type : 'text/plain'
  r.return(status, status === 200 ? r.variables['gitcache_probe_text'] || '' : 'no end of answer\n')
  setTimeout(cut, WATCH_PERIOD)
}

function cut(): void {
  throw new Error('gitcache: upstream does not end its answer')
}

function upstreamOf(r: NginxRequest, settings: Settings): Upstream {
  return {
    probe: (body) => ask(r, 'probe', body).then(textOf),
    lsRefs: (body) => ask(r, 'tags', body).then(sourceOf),
    advertisement: () => ask(r, 'refs', null).then(sourceOf),
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

/** What upstream said in full with status 200, inflated; or null. */
async function ask(r: NginxRequest, location: string, body: string | null): Promise<Buffer | null> {
  const size = location === 'probe' ? 'gitcache_probe_size' : 'gitcache_tags_size'
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
    return null
  }
  return decoded(reply.responseBuffer, reply.headersOut['Content-Encoding'], MAX_ANSWER)
}

async function prepare(
  r: NginxRequest,
  settings: Settings,
  path: string,
  key: string,
  yes: Extract<Verdict, { kind: 'yes' }>
): Promise<SidecarState> {
  const order = {
    key,
    family: yes.request.family,
    request: writeCanonicalRequest(yes.request),
    tags: yes.tags,
    progress: !yes.request.noProgress,
  }
  return sidecar(r, 'prepare', orderOf(r, settings, path, order))
}

/** What every order says, and what this one adds. Shape: sidecar/src/protocol.ts. */
function orderOf(r: NginxRequest, settings: Settings, path: string, more: object): string {
  const head = {
    secret: settings.secret,
    id: r.variables['request_id'],
    client: r.remoteAddress,
    upstream: settings.upstream,
    path,
  }
  return JSON.stringify(Object.assign(head, more))
}

/** A body too large for this engine: the sidecar reads it and asks upstream itself. */
async function readBySidecar(r: NginxRequest, settings: Settings, path: string): Promise<Act> {
  if (isHeld(settings.packs, settings.upstream)) {
    return passed('overloaded')
  }
  const ticket = await sidecar(r, 'ticket', orderOf(r, settings, path, {}))
  if (ticket.state !== 'ticket' || !isJob(ticket.job)) {
    return follow(settings.packs, ticket)
  }
  r.variables['gitcache_job'] = ticket.job
  const state = await sidecar(r, 'read', null)
  return follow(settings.packs, state)
}

/** A question to the sidecar; `body` null: the client's own. */
async function sidecar(
  r: NginxRequest,
  location: 'prepare' | 'ticket' | 'read' | 'hold',
  body: string | null
): Promise<SidecarState> {
  r.variables['gitcache_result'] = 'pass; reason=sidecar'
  r.variables['gitcache_probe_size'] = '0'
  const options: SubrequestOptions = body === null ? { method: 'POST' } : { method: 'POST', body }
  const reply = await r.subrequest(internal(r, location), options)
  if (isOver(r, 'gitcache_probe_size') || reply.status !== 200) {
    return NO_SIDECAR
  }
  return readState(reply.responseBuffer === undefined ? null : reply.responseBuffer.toString())
}

/** js_content of the gunzip location: gives the body back, for nginx's gunzip filter to inflate. */
function gunzipEcho(r: NginxRequest): void {
  r.headersOut['Content-Encoding'] = 'gzip'
  r.return(200, r.requestBuffer as Buffer)
}

/**
 * js_header_filter of the probe and the tag state. The length goes: nginx would kill the client's
 * connection over one that its buffer does not hold, before the body filter can look away.
 */
function answerHeaders(r: NginxRequest): void {
  r.variables['gitcache_probe_type'] = r.headersOut['Content-Type'] || ''
  delete r.headersOut['Content-Length']
}

/** js_body_filter of the probe and of the sidecar's short answers. */
function boundAnswer(r: NginxRequest, data: Buffer, flags: NginxHTTPSendBufferOptions): void {
  bound(r, data, flags, 'gitcache_probe_size')
}

/** js_body_filter of the tag state. */
function boundTags(r: NginxRequest, data: Buffer, flags: NginxHTTPSendBufferOptions): void {
  bound(r, data, flags, 'gitcache_tags_size')
}

/**
 * Stops forwarding beyond MAX_ANSWER: an answer larger than its buffer kills the client's connection.
 * The state variable counts the bytes. (`flags.last` is never true in a subrequest.)
 */
function bound(
  r: NginxRequest,
  data: Buffer,
  flags: NginxHTTPSendBufferOptions,
  state: string
): void {
  const seen = Number(r.variables[state]) + data.length
  if (seen === data.length) {
    r.variables['gitcache_probe_text'] = data.toString()
  }
  r.variables[state] = String(seen)
  if (seen <= MAX_ANSWER) {
    r.sendBuffer(data, flags)
  } else if (seen > MAX_SWALLOWED) {
    throw new Error("gitcache: upstream's answer to the probe has no end")
  }
}

/** js_set of $gitcache_target. */
function target(r: NginxRequest): string {
  return upstreamTarget(
    readAddresses(r),
    r.variables['uri'] || '',
    r.variables['request_uri'] || ''
  )
}

/** js_set of $gitcache_refs_target. */
function refsTarget(r: NginxRequest): string {
  return refsOf(target(r))
}

/** js_header_filter where the answer is made: says how. */
function resultHeader(r: NginxRequest): void {
  if (r.variables['gitcache_header'] === 'on') {
    r.headersOut['X-Git-Cache'] = r.variables['gitcache_result'] || ''
  }
}

/** The same of a pass; and what the operator's proxy_redirect would do. */
function passHeaders(r: NginxRequest): void {
  const settings = readSettings(r)
  const result = r.variables['gitcache_result'] || ''
  // A file that nginx cannot read, a stream that did not begin.
  if (result !== '' && result.indexOf('pass') !== 0) {
    r.variables['gitcache_result'] = passed('store').result
  }
  resultHeader(r)
  const location = r.headersOut['Location']
  if (settings.locationRewrite && typeof location === 'string') {
    const rewritten = clientLocation(settings, location)
    // Where it stays, it stays byte for byte: setting it changes the header's name, or makes it absolute.
    if (rewritten !== location) {
      r.headersOut['Location'] = rewritten
    }
  }
}

export {
  answerHeaders,
  boundAnswer,
  boundTags,
  gunzipEcho,
  passHeaders,
  refsTarget,
  resultHeader,
  target,
  uploadPack,
}
