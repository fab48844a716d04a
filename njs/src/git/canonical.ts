/**
 * Rebuilds a request from what was parsed. Client bytes are never piped to git or to upstream:
 * two requests with the same canonical form get the same answer, whatever their order, duplicates
 * and agents were.
 */
import type { FetchRequest, ObjectFormat } from './fetch-request.ts'
import { sortedUnique, unique } from './oids.ts'
import { pktDigits, pktLine } from './pkt-line.ts'

/** Thin packs need a base that the client has; without haves and shallows they are never thin. */
export function needsThinPack(request: FetchRequest): boolean {
  return request.thinPack && request.haves.length + request.shallows.length > 0
}

function line(text: string): string {
  return pktLine(text + '\n')
}

/** A line for each oid, put together by one native join: thousands would stop a worker of nginx. */
export function oidLines(name: string, oids: string[]): string {
  if (oids.length === 0) {
    return ''
  }
  const prefix = pktDigits(name.length + (oids[0] as string).length + 1) + name
  return prefix + oids.join('\n' + prefix) + '\n'
}

/** The lines that say what is wanted, in canonical order; haves not included. */
export function needs(request: FetchRequest): string {
  return (
    oidLines('want ', sortedUnique(request.wants)) +
    oidLines('shallow ', sortedUnique(request.shallows)) +
    (request.deepen === null ? '' : line(request.deepen)) +
    (request.filter === null ? '' : line('filter ' + request.filter))
  )
}

/** Options that shape the pack, in canonical order. Progress is not one of them: it travels in band 2. */
export function options(request: FetchRequest): string[] {
  const list: string[] = []
  if (needsThinPack(request)) {
    list.push('thin-pack')
  }
  if (request.includeTag) {
    list.push('include-tag')
  }
  if (request.ofsDelta) {
    list.push('ofs-delta')
  }
  return list
}

/** The same as packets of v2, in which each is a line. */
export function optionLines(request: FetchRequest): string {
  return (
    (needsThinPack(request) ? '000ethin-pack\n' : '') +
    (request.includeTag ? '0010include-tag\n' : '') +
    (request.ofsDelta ? '000eofs-delta\n' : '')
  )
}

export const NO_PROGRESS = '0010no-progress\n'

/** The body that is fed to upload-pack, ASCII. `progress` shapes band 2 alone. */
export function writeCanonicalRequest(request: FetchRequest, progress?: boolean): string {
  return request.family === 2 ? writeV2(request, progress) : writeV0(request, progress)
}

/** An upstream that does not know the capability object-format dies of it, and sha1 is the default. */
export function writeV2Head(command: 'fetch' | 'ls-refs', format: ObjectFormat): string {
  return (
    (command === 'fetch' ? '0012command=fetch\n' : '0014command=ls-refs\n') +
    (format === 'sha1' ? '' : '0019object-format=sha256\n') +
    '0001'
  )
}

function writeV2(request: FetchRequest, progress?: boolean): string {
  return (
    writeV2Head('fetch', request.format) +
    optionLines(request) +
    (progress ? '' : NO_PROGRESS) +
    needs(request) +
    oidLines('have ', haves(request)) +
    (request.done ? '0009done\n' : '') +
    '0000'
  )
}

/** In git's order where there is a filter: what upload-pack leaves out of a partial answer depends on it. */
function haves(request: FetchRequest): string[] {
  return request.filter === null ? sortedUnique(request.haves) : unique(request.haves)
}

function writeV0(request: FetchRequest, progress?: boolean): string {
  return writeV0Needs(request, progress) + '00000009done\n'
}

/** The first part of a v0 request: capabilities ride on the first want. */
export function writeV0Needs(request: FetchRequest, progress?: boolean): string {
  const capabilities = ['side-band-64k'].concat(options(request))
  if (!progress) {
    capabilities.push('no-progress')
  }
  if (request.filter !== null) {
    capabilities.push('filter')
  }
  if (request.format !== 'sha1') {
    capabilities.push('object-format=sha256')
  }
  const wants = sortedUnique(request.wants)
  const first = 'want ' + wants[0] + ' ' + capabilities.join(' ')
  const others = Object.assign({}, request, { wants: wants.slice(1) })
  return line(first) + needs(others)
}
