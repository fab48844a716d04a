/** Decides by the request's head whether its body is worth reading. */
import type { FetchRequest, Parsed } from './fetch-request.ts'
import type { PktSource } from './pkt-line.ts'
import { readPlainFetch } from './plain-fetch.ts'
import { parseUploadRequest } from './protocol-v0.ts'
import { parseFetchRequest } from './protocol-v2.ts'
import type { Reason } from './reasons.ts'

export interface RequestHead {
  method: string
  contentType: string
  contentEncoding: string
  gitProtocol: string
  authorization: string
  /** Range, If-* and TE, joined: what no git client sends with a fetch. */
  conditions: string
}

export interface Service {
  method: string
  contentType: string
  answerType: string
  /** Of info/refs. */
  advertisedType: string
}

/** What is cached. Source: gitprotocol-http(5), "Smart Service git-upload-pack". */
export const SERVICE: Service = {
  method: 'POST',
  contentType: 'application/x-git-upload-pack-request',
  answerType: 'application/x-git-upload-pack-result',
  advertisedType: 'application/x-git-upload-pack-advertisement',
}

/**
 * Whether the Content-Type of an answer is git's: a file that a client has put there may have the bytes of
 * a yes, and not the type. With parameters it says the same: RFC 9110, 8.3.1. `isAdvertised`: of info/refs.
 */
export function isOfGit(given: string | string[] | undefined, isAdvertised: boolean): boolean {
  const type = isAdvertised ? SERVICE.advertisedType : SERVICE.answerType
  return given === type || mediaType(String(given)) === type
}

function mediaType(given: string): string {
  return (given.split(';')[0] as string).trim().toLowerCase()
}

/** Null where the body is to be read, else the reason to pass. */
export function refuseHead(head: RequestHead): Reason | null {
  if (head.method !== SERVICE.method) {
    return 'method'
  }
  if (head.contentType !== SERVICE.contentType) {
    return 'content-type'
  }
  if (head.conditions !== '') {
    return 'conditional'
  }
  if (!isGzip(head.contentEncoding) && !isIdentity(head.contentEncoding)) {
    return 'content-encoding'
  }
  if (head.authorization !== '' && !isReusable(head.authorization)) {
    return 'auth-scheme'
  }
  return protocolFamily(head.gitProtocol) === null ? 'git-protocol' : null
}

/** Negotiate, NTLM and Digest spend themselves on one request. */
function isReusable(authorization: string): boolean {
  const scheme = authorization.substring(0, authorization.indexOf(' ')).toLowerCase()
  return scheme === 'basic' || scheme === 'bearer'
}

export function isGzip(contentEncoding: string): boolean {
  return contentEncoding === 'gzip' || contentEncoding === 'x-gzip'
}

function isIdentity(contentEncoding: string): boolean {
  return contentEncoding === '' || contentEncoding === 'identity'
}

/**
 * The protocol family that upstream will speak: the highest `version=` of the colon-separated list,
 * 0 without one. Null where the header says anything else. Source: git's protocol.c.
 */
export function protocolFamily(gitProtocol: string): FetchRequest['family'] | null {
  if (gitProtocol === 'version=2') {
    return 2
  }
  const items = gitProtocol === '' ? [] : gitProtocol.split(':')
  if (!items.every((item) => /^version=[012]$/.test(item))) {
    return null
  }
  return items.includes('version=2') ? 2 : 0
}

export function parseBody(body: PktSource, gitProtocol: string, maxLines: number): Parsed {
  if (protocolFamily(gitProtocol) !== 2) {
    return parseUploadRequest(body, maxLines)
  }
  const plain = typeof body === 'string' ? readPlainFetch(body) : null
  return plain === null ? parseFetchRequest(body, maxLines) : { kind: 'fetch', request: plain }
}
