/** What the client sent, as the core reads it: the head, the repository's path, the body. */
import type { RequestHead } from '../git/classify.ts'
import { announcedSize, isGzipped } from '../git/gzip.ts'
import type { Reason } from '../git/reasons.ts'
import { parseRepositoryPath } from '../git/repository-path.ts'
import { internal, type NginxRequest } from './ngx.ts'
import type { Settings } from './settings.ts'

/** Larger bodies are the sidecar's, inflated: njs 0.7.9 takes 4 ms to read and to probe so much. */
const MAX_BODY = 64 * 1024
/** What a member of gzip begins with, in hex: RFC 1952, 2.3.1. */
const MEMBER = '1f8b08'

export interface Head extends RequestHead {
  contentLength: string
}

export function readHead(r: NginxRequest): Head {
  const h = r.headersIn
  return {
    method: r.method,
    contentType: h['Content-Type'] || '',
    contentEncoding: h['Content-Encoding'] || '',
    contentLength: h['Content-Length'] || '',
    gitProtocol: h['Git-Protocol'] || '',
    authorization: h['Authorization'] || '',
    conditions:
      (h['Range'] || '') +
      (h['If-Range'] || '') +
      (h['If-Match'] || '') +
      (h['If-None-Match'] || '') +
      (h['If-Modified-Since'] || '') +
      (h['If-Unmodified-Since'] || '') +
      (h['TE'] || ''),
  }
}

/** The repository's path on upstream, of what upstream is sent; null where we do not read it. */
export function readPath(r: NginxRequest, settings: Settings): string | null {
  const target = r.variables['gitcache_target'] || ''
  return parseRepositoryPath(target.substring(settings.upstream.length))
}

/** Whether it is seen before the body is read that it is too large for this engine. */
export function isLarge(r: NginxRequest, head: Head): boolean {
  return Boolean(r.variables['request_body_file']) || Number(head.contentLength) > MAX_BODY
}

/** The body as it came, or the reason why it is not read here. */
export function readBody(r: NginxRequest): Buffer | Reason {
  const raw = readRaw(r)
  if (raw === null) {
    return 'empty'
  }
  return raw.length > MAX_BODY ? 'body-size' : raw
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

/** Inflates a gzip body, or says why it does not. */
export async function inflateBody(r: NginxRequest, raw: Buffer): Promise<Buffer | Reason> {
  // Bad gzip makes nginx close the connection, so look before leaping.
  if (!isGzipped(raw)) {
    return 'gzip'
  }
  // The size that is announced is that of the last member.
  if (announcedSize(raw) > MAX_BODY || raw.indexOf(MEMBER, MEMBER.length / 2, 'hex') > 0) {
    return 'body-size'
  }
  const reply = await r.subrequest(internal(r, 'gunzip'), { method: 'POST' })
  const inflated = reply.responseBuffer
  if (reply.status !== 200 || !inflated) {
    return 'gzip'
  }
  return inflated.length > MAX_BODY ? 'body-size' : inflated
}

/** js_content of the gunzip location: gives the body back, for nginx's gunzip filter to inflate. */
export function gunzipEcho(r: NginxRequest): void {
  r.headersOut['Content-Encoding'] = 'gzip'
  r.return(200, r.requestBuffer as Buffer)
}
