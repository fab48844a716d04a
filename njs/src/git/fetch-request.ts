/**
 * What a client asks for, whichever protocol version carried it, and the lines that v2 `fetch`
 * and v0/v1 upload requests share. Source: gitprotocol-v2(5) "fetch", gitprotocol-pack(5).
 */
import { parseFilterSpec } from './filter-spec.ts'
import { sortedUnique } from './oids.ts'
import type { PktSource } from './pkt-line.ts'
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

/** Lines with an object id, and where it goes. */
const OID_LINES: { [name: string]: 'wants' | 'haves' | 'shallows' } = {
  'want ': 'wants',
  'have ': 'haves',
  'shallow ': 'shallows',
}

/** Lines that may change an answer by what only upstream knows, and why they pass. */
const PASSED_LINES: { [name: string]: Reason } = {
  'deepen-relative': 'deepen-relative',
  'deepen-not': 'deepen-not',
  'want-ref': 'want-ref',
  'sideband-all': 'sideband-all',
  'packfile-uris': 'packfile-uris',
}

/** A row of a table, and not what every object inherits: `constructor` is no known line. */
export function own<T>(table: { [name: string]: T }, name: string): T | undefined {
  return Object.prototype.hasOwnProperty.call(table, name) ? table[name] : undefined
}

/**
 * Takes a line that both protocol families know into `request`.
 * Returns null where it was taken, else the reason to pass.
 */
export function takeLine(request: FetchRequest, line: string): Reason | null {
  const space = line.indexOf(' ')
  const name = space < 0 ? line : line.substring(0, space)
  const field = own(OID_LINES, name + ' ')
  if (field !== undefined) {
    const oid = line.substring(space + 1)
    request[field].push(oid)
    // What it is made of is looked at once for all: `finishRequest`.
    return oid.length === oidLength(request.format) ? null : 'oid'
  }
  if (name === 'deepen' || name === 'deepen-since') {
    return takeDeepen(request, name, line)
  }
  if (name === 'filter') {
    return takeFilter(request, line.substring(7))
  }
  return own(PASSED_LINES, name) || 'argument'
}

function takeDeepen(request: FetchRequest, name: string, line: string): Reason | null {
  if (request.deepen !== null) {
    return 'repeated'
  }
  const value = line.substring(name.length + 1)
  if (!/^[1-9][0-9]{0,9}$(?!\n)/.test(value)) {
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

function oidLength(format: ObjectFormat): number {
  return format === 'sha1' ? 40 : 64
}

/** What stands before each oid of a run, of sha1, and where the oids go. */
const RUNS: { head: string; field: 'wants' | 'haves' | 'shallows' }[] = [
  { head: '0032want ', field: 'wants' },
  { head: '0032have ', field: 'haves' },
  { head: '0035shallow ', field: 'shallows' },
]

/** Where reading goes on, and how many packets were taken. */
interface Run {
  next: number
  lines: number
}

/**
 * Takes a run of packets alike at `pos`, `0032want <oid>\n` and so on, as fetches of many refs and
 * long negotiations have: one native split instead of thousands of steps. What is not exactly so is
 * left to the caller. Only behind the first of its kind: a request that makes each run short would be
 * split again and again.
 */
export function takeRun(request: FetchRequest, source: PktSource, pos: number): Run {
  for (let i = 0; request.format === 'sha1' && i < RUNS.length; i++) {
    const run = RUNS[i] as (typeof RUNS)[0]
    const oids = request[run.field]
    if (oids.length === 1 && source.text(pos, pos + run.head.length) === run.head) {
      takeOids(oids, source.text(pos, source.length).split(run.head))
      const lines = oids.length - 1
      return { next: pos + lines * (run.head.length + 41), lines }
    }
  }
  return { next: pos, lines: 0 }
}

/** The first piece stands before the first packet, and is empty. */
function takeOids(oids: string[], pieces: string[]): void {
  for (let i = 1; i < pieces.length; i++) {
    const piece = pieces[i] as string
    if (piece.length !== 41 || piece.charCodeAt(40) !== 10) {
      return
    }
    oids.push(piece.substring(0, 40))
  }
}

/** The end of parsing. A regular expression an oid would stop a worker of nginx for too long. */
export function finishRequest(request: FetchRequest): Parsed {
  const oids = request.wants.concat(request.haves, request.shallows)
  if (/[^0-9a-f]/.test(oids.join(''))) {
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
