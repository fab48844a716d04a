/**
 * What a client asks for, whichever protocol version carried it, and the lines that v2 `fetch`
 * and v0/v1 upload requests share. Source: gitprotocol-v2(5) "fetch", gitprotocol-pack(5).
 */
import { parseFilterSpec } from './filter-spec.ts'
import { sortedUnique } from './oids.ts'
import type { Reason } from './reasons.ts'

export type ObjectFormat = 'sha1' | 'sha256'

export interface FetchRequest {
  /** 2, or 0 for both v0 and v1: their answers to a POST are the same bytes. */
  family: 0 | 2
  format: ObjectFormat
  wants: string[]
  /** In the client's order: git names the newest first. */
  haves: string[]
  shallows: string[]
  /** The whole line, `deepen 1` or `deepen-since 1700000000`, or null. */
  deepen: string | null
  filter: string | null
  done: boolean
  ofsDelta: boolean
  thinPack: boolean
  includeTag: boolean
  noProgress: boolean
}

export type Parsed = { kind: 'fetch'; request: FetchRequest } | { kind: 'pass'; reason: Reason }

export function pass(reason: Reason): { kind: 'pass'; reason: Reason } {
  return { kind: 'pass', reason }
}

export function emptyRequest(family: 0 | 2): FetchRequest {
  return {
    family,
    format: 'sha1',
    wants: [],
    haves: [],
    shallows: [],
    deepen: null,
    filter: null,
    done: false,
    ofsDelta: false,
    thinPack: false,
    includeTag: false,
    noProgress: false,
  }
}

/** Takes what is a line of its own in v2 and a capability in v0; false where it is something else. */
export function takeOption(request: FetchRequest, word: string): boolean {
  switch (word) {
    case 'ofs-delta':
      request.ofsDelta = true
      return true
    case 'thin-pack':
      request.thinPack = true
      return true
    case 'include-tag':
      request.includeTag = true
      return true
    case 'no-progress':
      request.noProgress = true
      return true
    default:
      return false
  }
}

/** Of `object-format=<value>`, a capability of both. Returns null where it was taken. */
export function takeObjectFormat(request: FetchRequest, value: string): Reason | null {
  if (value !== 'sha1' && value !== 'sha256') {
    return 'object-format'
  }
  request.format = value
  return null
}

/**
 * Takes a line that both protocol families know into `request`.
 * Returns null where it was taken, else the reason to pass.
 */
export function takeLine(request: FetchRequest, line: string): Reason | null {
  const space = line.indexOf(' ')
  const name = space < 0 ? line : line.substring(0, space)
  switch (name) {
    case 'want':
      return takeOid(request.wants, line.substring(5), request.format)
    case 'have':
      return takeOid(request.haves, line.substring(5), request.format)
    case 'shallow':
      return takeOid(request.shallows, line.substring(8), request.format)
    case 'deepen':
    case 'deepen-since':
      return takeDeepen(request, name, line)
    case 'filter':
      return takeFilter(request, line.substring(7))
    // What may change an answer by what only upstream knows.
    case 'deepen-relative':
    case 'deepen-not':
    case 'want-ref':
    case 'sideband-all':
    case 'packfile-uris':
      return name
    default:
      return 'argument'
  }
}

/** What it is made of is looked at once for all: `finishRequest`. */
function takeOid(oids: string[], oid: string, format: ObjectFormat): Reason | null {
  oids.push(oid)
  return oid.length === (format === 'sha1' ? 40 : 64) ? null : 'oid'
}

/** All of history, as of git's shallow.h. Beyond it strtol and int make another depth of what was asked. */
export const INFINITE_DEPTH = 2147483647

function takeDeepen(request: FetchRequest, name: string, line: string): Reason | null {
  if (request.deepen !== null) {
    return 'repeated'
  }
  const value = line.substring(name.length + 1)
  if (!/^[1-9][0-9]{0,9}$(?!\n)/.test(value)) {
    return 'argument'
  }
  if (name === 'deepen' && Number(value) > INFINITE_DEPTH) {
    return 'argument'
  }
  request.deepen = line
  return null
}

function takeFilter(request: FetchRequest, spec: string): Reason | null {
  if (request.filter !== null) {
    return 'repeated'
  }
  if (!parseFilterSpec(spec)) {
    return 'filter'
  }
  request.filter = spec
  return null
}

/** Lower-case hexadecimal of the format's length: git takes upper-case too, but then it is not ours. */
export function isOid(oid: string, format: ObjectFormat): boolean {
  return format === 'sha1' ? /^[0-9a-f]{40}$(?!\n)/.test(oid) : /^[0-9a-f]{64}$(?!\n)/.test(oid)
}

/**
 * The end of parsing. A regular expression an oid would stop a worker of nginx for too long, and one
 * that looks for what may not be there begins anew at each digit.
 */
export function finishRequest(request: FetchRequest): Parsed {
  const oids = request.wants.concat(request.haves, request.shallows)
  if (!/^[0-9a-f]*$(?!\n)/.test(oids.join(''))) {
    return pass('oid')
  }
  // Sorted once: whoever writes them looks first whether they are.
  request.wants = sortedUnique(request.wants)
  request.shallows = sortedUnique(request.shallows)
  return { kind: 'fetch', request }
}

/** deepen-since depends on the clock of the moment: shared while it is made, never stored. */
export function isStorable(request: FetchRequest): boolean {
  return request.deepen === null || request.deepen.indexOf('deepen-since') !== 0
}

/**
 * Upstream's answer is its probe as well: it names nothing but its wants, and its key is known before
 * upstream has said anything.
 */
export function isOwnProbe(request: FetchRequest): boolean {
  const known = request.haves.length + request.shallows.length
  return known === 0 && request.done && !request.includeTag
}

/** The pack holds the whole history of its wants: a mirror can be made of it. */
export function isWhole(request: FetchRequest): boolean {
  const known = request.haves.length + request.shallows.length
  return known === 0 && request.deepen === null && request.filter === null
}
