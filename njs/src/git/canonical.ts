/**
 * Rebuilds a request from what was parsed. Client bytes are never piped to git or to upstream:
 * two requests with the same canonical form get the same answer, whatever their order, duplicates
 * and agents were.
 */
import type { FetchRequest } from './fetch-request.ts'
import { pktLine } from './pkt-line.ts'

export function sortedUnique(oids: string[]): string[] {
  if (oids.length < 2) {
    return oids
  }
  const sorted = oids.slice().sort()
  return sorted.filter((oid, i) => i === 0 || oid !== sorted[i - 1])
}

/** Thin packs need a base that the client has; without haves and shallows they are never thin. */
export function needsThinPack(request: FetchRequest): boolean {
  return request.thinPack && request.haves.length + request.shallows.length > 0
}

/** Adds a line for each oid, sorted and once. Arrays are slow to concatenate in njs, and quick to push to. */
function pushOids(lines: string[], name: string, oids: string[]): void {
  const sorted = sortedUnique(oids)
  for (let i = 0; i < sorted.length; i++) {
    lines.push(name + sorted[i])
  }
}

/** Adds the lines that say what is wanted, in canonical order and without line feeds; haves not included. */
export function pushNeeds(lines: string[], request: FetchRequest): void {
  pushOids(lines, 'want ', request.wants)
  pushOids(lines, 'shallow ', request.shallows)
  if (request.deepen !== null) {
    lines.push(request.deepen)
  }
  if (request.filter !== null) {
    lines.push('filter ' + request.filter)
  }
}

export function pushHaves(lines: string[], request: FetchRequest): void {
  pushOids(lines, 'have ', request.haves)
}

/** Adds the options that shape the pack. Progress is not one of them: it travels in band 2. */
export function pushOptions(options: string[], request: FetchRequest): void {
  if (needsThinPack(request)) {
    options.push('thin-pack')
  }
  if (request.includeTag) {
    options.push('include-tag')
  }
  if (request.ofsDelta) {
    options.push('ofs-delta')
  }
}

/** The body that is fed to upload-pack, ASCII. `progress` shapes band 2 alone. */
export function writeCanonicalRequest(request: FetchRequest, progress?: boolean): string {
  const options: string[] = []
  pushOptions(options, request)
  if (!progress) {
    options.push('no-progress')
  }
  return request.family === 2 ? writeV2(request, options) : writeV0(request, options)
}

export function writeV2Head(command: string, request: Pick<FetchRequest, 'format'>): string {
  // An upstream that does not know the capability dies of it, and sha1 is the default.
  const format = request.format === 'sha1' ? '' : pktLine('object-format=sha256\n')
  return pktLine('command=' + command + '\n') + format + '0001'
}

export function writeLines(lines: string[]): string {
  const pkts: string[] = []
  for (let i = 0; i < lines.length; i++) {
    pkts.push(pktLine(lines[i] + '\n'))
  }
  return pkts.join('')
}

function writeV2(request: FetchRequest, lines: string[]): string {
  pushNeeds(lines, request)
  pushHaves(lines, request)
  if (request.done) {
    lines.push('done')
  }
  return writeV2Head('fetch', request) + writeLines(lines) + '0000'
}

function writeV0(request: FetchRequest, options: string[]): string {
  const needs: string[] = []
  pushNeeds(needs, request)
  return writeV0Needs(request, options, needs) + '0000' + pktLine('done\n')
}

/** The first part of a v0 request: capabilities ride on the first want. */
export function writeV0Needs(request: FetchRequest, options: string[], needs: string[]): string {
  const capabilities = ['side-band-64k'].concat(options)
  if (request.filter !== null) {
    capabilities.push('filter')
  }
  if (request.format !== 'sha1') {
    capabilities.push('object-format=sha256')
  }
  const first = needs[0] + ' ' + capabilities.join(' ')
  return writeLines([first].concat(needs.slice(1)))
}
