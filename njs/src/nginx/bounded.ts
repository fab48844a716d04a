/**
 * Answers to our own subrequests that are too large, or have no end. Nothing closes a subrequest, and
 * nginx ends the client's connection over one that its buffer does not hold.
 */
import { resultHeader } from './headers.ts'
import type { NginxRequest } from './ngx.ts'

/** Bound on what upstream may answer; subrequest_output_buffer_size in gitcache-location.conf is larger. */
export const MAX_ANSWER = 512 * 1024
/** Then the connection is cut: whoever waited for it was passed long before. */
const MAX_SWALLOWED = 1024 * 1024 * 1024
/** An upstream that drips its answer is given up on after this many milliseconds. */
const PROBE_TIMEOUT = 15000
const WATCH_PERIOD = 200
const MAX_TICKS_OVER = 5

export interface Watch {
  deadline: number
  /** Ticks since the answer was first seen to be too large. */
  over: number
  timer?: Parameters<typeof clearTimeout>[0]
}

/** Until endWatch, answers to subrequests of this request have a bound and an end. */
export function startWatch(r: NginxRequest): Watch {
  const watch: Watch = { deadline: Date.now() + PROBE_TIMEOUT, over: 0 }
  r.variables['gitcache_probe_type'] = ''
  watch.timer = setTimeout(() => watchAnswers(r, watch), WATCH_PERIOD)
  return watch
}

export function endWatch(watch: Watch): void {
  clearTimeout(watch.timer)
}

/**
 * Looks every WATCH_PERIOD whether upstream has said more than it may, for longer than a large page
 * takes, or does not come to an end. Tags and refs of git are waited for: they are what the client
 * would wait for too, and at their end he is passed.
 */
function watchAnswers(r: NginxRequest, watch: Watch): void {
  const over = isOver(r, 'gitcache_answer_size') || isOver(r, 'gitcache_tags_size')
  watch.over = over && !isGitType(r.variables['gitcache_probe_type'] || '') ? watch.over + 1 : 0
  if (watch.over > MAX_TICKS_OVER || Date.now() > watch.deadline) {
    giveUp(r)
  } else {
    watch.timer = setTimeout(() => watchAnswers(r, watch), WATCH_PERIOD)
  }
}

function isGitType(type: string): boolean {
  return type.indexOf('application/x-git-upload-pack-') === 0
}

export function isOver(r: NginxRequest, size: string): boolean {
  return Number(r.variables[size]) > MAX_ANSWER
}

/**
 * The end of waiting for an answer without end. nginx holds a redirect back while a subrequest is
 * open. So the client gets at once what upstream has said so far, unless that might be git's: a part
 * of that would look whole. Then an exception in a timer, which ends the request and all its
 * subrequests on every njs version.
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

/**
 * js_header_filter of the probe and the tag state. The length goes: nginx would kill the client's
 * connection over one that its buffer does not hold, before the body filter can look away.
 */
export function answerHeaders(r: NginxRequest): void {
  r.variables['gitcache_probe_type'] = r.headersOut['Content-Type'] || ''
  delete r.headersOut['Content-Length']
}

/** js_body_filter of the probe and of the sidecar's short answers. */
export function boundAnswer(
  r: NginxRequest,
  data: Buffer,
  flags: NginxHTTPSendBufferOptions
): void {
  bound(r, data, flags, 'gitcache_answer_size')
}

/** js_body_filter of the tag state. */
export function boundTags(r: NginxRequest, data: Buffer, flags: NginxHTTPSendBufferOptions): void {
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
