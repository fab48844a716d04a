/**
 * Rebuilds a request from what was parsed. Client bytes are never piped to git or to upstream:
 * two requests with the same canonical form get the same answer, whatever their order, duplicates
 * and agents were.
 */
import type { FetchRequest } from './fetch-request.ts'
import { sortedUnique } from './oids.ts'
import { pktDigits, pktLine } from './pkt-line.ts'

/** Thin packs need a base that the client has; without haves and shallows they are never thin. */
export function needsThinPack(request: FetchRequest): boolean {
  return request.thinPack && request.haves.length + request.shallows.length > 0
}

/** What stands before a line whose text has so many bytes: the digits of a packet, or nothing. */
export type Frame = (length: number) => string

export function line(frame: Frame, text: string): string {
  return frame(text.length + 1) + text + '\n'
}

/** A line for each oid, put together by one native join: thousands would stop a worker of nginx. */
export function oidLines(frame: Frame, name: string, oids: string[]): string {
  if (oids.length === 0) {
    return ''
  }
  const prefix = frame(name.length + (oids[0] as string).length + 1) + name
  return prefix + oids.join('\n' + prefix) + '\n'
}

/** The lines that say what is wanted, in canonical order; haves not included. */
export function needs(frame: Frame, request: FetchRequest): string {
  return (
    oidLines(frame, 'want ', sortedUnique(request.wants)) +
    oidLines(frame, 'shallow ', sortedUnique(request.shallows)) +
    (request.deepen === null ? '' : line(frame, request.deepen)) +
    (request.filter === null ? '' : line(frame, 'filter ' + request.filter))
  )
}

/** Options that shape the pack. Progress is not one of them: it travels in band 2. */
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

/** The body that is fed to upload-pack, ASCII. `progress` shapes band 2 alone. */
export function writeCanonicalRequest(request: FetchRequest, progress?: boolean): string {
  const list = options(request)
  if (!progress) {
    list.push('no-progress')
  }
  return request.family === 2 ? writeV2(request, list) : writeV0(request, list)
}

export function writeV2Head(command: string, request: Pick<FetchRequest, 'format'>): string {
  // An upstream that does not know the capability dies of it, and sha1 is the default.
  const format = request.format === 'sha1' ? '' : pktLine('object-format=sha256\n')
  return pktLine('command=' + command + '\n') + format + '0001'
}

export function writeLines(lines: string[]): string {
  let text = ''
  for (let i = 0; i < lines.length; i++) {
    text += line(pktDigits, lines[i] as string)
  }
  return text
}

function writeV2(request: FetchRequest, list: string[]): string {
  return (
    writeV2Head('fetch', request) +
    writeLines(list) +
    needs(pktDigits, request) +
    oidLines(pktDigits, 'have ', sortedUnique(request.haves)) +
    (request.done ? '0009done\n' : '') +
    '0000'
  )
}

function writeV0(request: FetchRequest, list: string[]): string {
  return writeV0Needs(request, list) + '0000' + pktLine('done\n')
}

/** The first part of a v0 request: capabilities ride on the first want. */
export function writeV0Needs(request: FetchRequest, list: string[]): string {
  const capabilities = ['side-band-64k'].concat(list)
  if (request.filter !== null) {
    capabilities.push('filter')
  }
  if (request.format !== 'sha1') {
    capabilities.push('object-format=sha256')
  }
  const wants = sortedUnique(request.wants)
  const first = 'want ' + wants[0] + ' ' + capabilities.join(' ')
  const others = Object.assign({}, request, { wants: wants.slice(1) })
  return line(pktDigits, first) + needs(pktDigits, others)
}
