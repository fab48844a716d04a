/**
 * js_content of the main location: parse, decide, act.
 *
 * Dialect of this folder: functions are flat, at module level, and const where a closure reads (njs
 * before 0.9.1 miscompiles async functions whose captured variables change). Nothing runs at module
 * top level: it would run again for every request.
 */
import { type Act, follow, hit, nak, passed, refused, type SidecarState } from '../act.ts'
import { bufferSource } from '../bytes.ts'
import { MAX_YES_AGE } from '../git/authorize.ts'
import { isGzip, parseBody, type RequestHead, refuseHead, SERVICE } from '../git/classify.ts'
import { type FetchRequest, isOwnProbe, type Parsed } from '../git/fetch-request.ts'
import { keyOf, type Repository } from '../git/key.ts'
import { crashesInSubrequests } from '../git/njs-version.ts'
import type { Reason } from '../git/reasons.ts'
import { isStored, sha256 } from '../stored.ts'
import { resultHeader } from './headers.ts'
import { internal, type NginxRequest } from './ngx.ts'
import { inflateBody, isLarge, readBody, readHead, readPath } from './request.ts'
import { isOn, readSettings, type Settings } from './settings.ts'
import { lead, prepare, readBySidecar } from './sidecar.ts'
import { authorizeInTime } from './upstream.ts'

/** What other clients than git write is read packet by packet, which takes njs 2 ms for so many. */
const MAX_LINES = 400
/** The probe of a gzip request is gzip too, and njs 0.7.9 takes 3 ms for the checksum of so much. Bytes. */
const MAX_GZIP = 24 * 1024

export async function uploadPack(r: NginxRequest): Promise<void> {
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
  r.variables['gitcache_file'] = act.kind === 'hit' ? act.file : ''
  r.variables['gitcache_job'] = act.kind === 'stream' ? act.job : ''
  if (act.kind === 'say') {
    r.headersOut['Expires'] = 'Thu, 01 Jan 1970 00:00:01 GMT'
    r.headersOut['Cache-Control'] = 'no-cache'
    r.headersOut['Content-Type'] = SERVICE.answerType
    say(r, 200, act.body)
  } else if (act.kind === 'refuse') {
    // Nobody is sent to ask upstream once more.
    Object.assign(r.headersOut, act.headers)
    // Without a text njs 0.7.9 would go to the error_page, which passes.
    say(r, act.status, act.body)
  } else if (act.kind === 'hit') {
    // A filter in the location of hits would do this too, in a JavaScript context of its own.
    resultHeader(r)
    // The error_page of this status: a redirect would keep the method, and nginx sends no file to a POST.
    r.return(405)
  } else {
    r.internalRedirect(internal(r, act.kind))
  }
}

function say(r: NginxRequest, status: number, body: string | Buffer): void {
  resultHeader(r)
  r.return(status, body)
}

function decide(r: NginxRequest, settings: Settings): Act | Promise<Act> {
  r.variables['gitcache_method'] = r.method
  const head = readHead(r)
  const path = readPath(r, settings)
  const reason = refuse(r, settings, head, path)
  if (reason !== null) {
    return passed(reason)
  }
  const asked = {
    upstream: settings.upstream,
    vhost: settings.vhost,
    packs: settings.packs,
    path: path as string,
    head,
  }
  const body = isLarge(r, head) ? 'body-size' : readBody(r)
  return isGzip(head.contentEncoding) && typeof body !== 'string'
    ? answerGzip(r, asked, body)
    : answerBody(r, asked, body)
}

/** What is known of a request before its body is read. */
interface Asked extends Settings, Repository {
  head: RequestHead
}

async function answerGzip(r: NginxRequest, asked: Asked, raw: Buffer): Promise<Act> {
  const body = await inflateBody(r, raw)
  return answerBody(r, asked, body)
}

function answerBody(r: NginxRequest, asked: Asked, body: Buffer | Reason): Act | Promise<Act> {
  if (typeof body === 'string') {
    return body === 'body-size' ? answerLarge(r, asked) : passed(body)
  }
  const parsed = parseBody(bufferSource(body), asked.head.gitProtocol, MAX_LINES)
  if (isTooMuch(asked.head, body, parsed)) {
    return answerLarge(r, asked)
  }
  return parsed.kind === 'pass' ? passed(parsed.reason) : answer(r, asked, parsed.request, false)
}

/** A fetch that would hold up the worker, of which only the sidecar knows what it says. */
function isTooMuch(head: RequestHead, body: Buffer, parsed: Parsed): boolean {
  return parsed.kind === 'pass'
    ? parsed.reason === 'too-many-lines'
    : isGzip(head.contentEncoding) && body.length > MAX_GZIP
}

function refuse(
  r: NginxRequest,
  settings: Settings,
  head: RequestHead,
  path: string | null
): Reason | null {
  if (!isOn(r, 'gitcache_enabled')) {
    return 'disabled'
  }
  if (crashesInSubrequests(njs.version) && !isOn(r, 'gitcache_njs_override')) {
    r.error('gitcache: njs ' + njs.version + ' crashes workers in subrequests, all requests pass')
    return 'njs-version'
  }
  if (settings.upstream === '') {
    return 'no-upstream'
  }
  return path === null ? 'path' : refuseHead(head)
}

/**
 * From upstream itself, where nothing is stored and nobody has asked before; else authorised by
 * upstream, and then from the store or from the sidecar. `isAgain`: its tags have changed once.
 */
async function answer(
  r: NginxRequest,
  asked: Asked,
  request: FetchRequest,
  isAgain: boolean
): Promise<Act> {
  const packs = asked.packs
  const own = isOwnProbe(request) ? keyFor(asked, request, null) : ''
  if (own !== '' && !isStored(packs, own)) {
    const led = await lead(r, asked, request)
    if (isUpstreams(led)) {
      return follow(packs, led)
    }
    if (led.state === 'pass') {
      return passUnlessRefused(r, packs, request, led)
    }
  }
  const begun = Date.now()
  const verdict = await authorizeInTime(r, request)
  if (verdict.kind === 'nak') {
    return nak()
  }
  if (verdict.kind === 'told') {
    return refused(verdict)
  }
  if (verdict.kind === 'pass') {
    return passed(verdict.reason)
  }
  const key = own || keyFor(asked, verdict.request, verdict.tags)
  if (isStored(packs, key)) {
    return hit(packs, key)
  }
  const state = await prepare(r, asked, key, verdict)
  // Tags were pushed while upstream counted: who has waited meets the others under the key of now.
  const isYoung = Date.now() - begun < MAX_YES_AGE
  if (!isAgain && isYoung && state.state === 'pass' && state.reason === 'tag-state') {
    return answer(r, asked, request, true)
  }
  const isAnswer = state.state === 'ready' || state.state === 'stream'
  if (isAnswer && Date.now() - begun > MAX_YES_AGE) {
    const again = await authorizeInTime(r, request)
    if (again.kind !== 'yes' || keyFor(asked, again.request, again.tags) !== key) {
      return passed('stale')
    }
  }
  return follow(packs, state)
}

/** What upstream itself has said to this client. */
function isUpstreams(led: SidecarState): boolean {
  return led.state === 'pass'
    ? led.reason === 'refused' || led.reason === 'no-answer'
    : led.state === 'stream' || led.state === 'refused'
}

/**
 * He is not told of what goes on here whom upstream refuses: where the answer is stored, he would have
 * been asked about, and refused.
 */
async function passUnlessRefused(
  r: NginxRequest,
  packs: string,
  request: FetchRequest,
  led: SidecarState
): Promise<Act> {
  const verdict = await authorizeInTime(r, request)
  if (verdict.kind === 'told') {
    return refused(verdict)
  }
  return verdict.kind === 'pass' ? passed(verdict.reason) : follow(packs, led)
}

function keyFor(asked: Asked, request: FetchRequest, tags: string | null): string {
  return keyOf(sha256, request, tags, asked)
}

/** A body too large for this engine: the sidecar reads it and asks upstream itself. */
async function answerLarge(r: NginxRequest, asked: Asked): Promise<Act> {
  const state = await readBySidecar(r, asked)
  return follow(asked.packs, state)
}
