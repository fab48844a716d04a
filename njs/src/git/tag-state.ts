/**
 * The tag state: all of refs/tags/ as upstream shows it to this client, with peeled ids. With
 * include-tag, upload-pack adds the annotated tags that exist at that moment, so the state is part
 * of the key and the answer is generated in a view that has exactly these tags. For the key it is a
 * text, in v2 one that nobody has read (a thousand lines cost njs 3 ms, more than all the rest of a
 * hit): its lines are looked at before an answer is made, so none is stored under one that is no good.
 * Source: gitprotocol-v2(5) "ls-refs"; gitprotocol-pack(5) "Reference Discovery"; git-check-ref-format(1).
 */
import { writeV2Head } from './canonical.ts'
import type { ObjectFormat } from './fetch-request.ts'
import { isOid } from './fetch-request.ts'
import { chomp, FLUSH, type Pkt, type PktSource, pktLine, readPkts } from './pkt-line.ts'
import type { Reason } from './reasons.ts'

/** Sorted lines `<oid> <refname>` or `<oid> <refname> <peeled oid>`. */
export type TagStateAnswer = { kind: 'tags'; lines: string[] } | { kind: 'pass'; reason: Reason }

export interface TagLimits {
  format: ObjectFormat
  maxTags: number
}

export function writeTagsRequest(format: ObjectFormat): string {
  const args = pktLine('peel\n') + pktLine('ref-prefix refs/tags/\n')
  return writeV2Head('ls-refs', format) + args + '0000'
}

/** Reads the text of a tag state: of family 2 the answer to ls-refs, of family 0 lines as they are here. */
export function readTagState(state: PktSource, family: 0 | 2, limits: TagLimits): TagStateAnswer {
  if (family === 2) {
    return readLsRefsTags(state, limits)
  }
  const text = state.substring(0, state.length)
  const tags = text === '' ? [] : text.split('\n').map((line) => line.split(' '))
  return takeTags(tags, limits)
}

/** Reads the complete answer to `writeTagsRequest`. */
export function readLsRefsTags(body: PktSource, limits: TagLimits): TagStateAnswer {
  const pkts = readPkts(body, Infinity, 'body')
  if (pkts === null || pkts.pop() !== FLUSH) {
    return { kind: 'pass', reason: 'tag-state' }
  }
  return takeTags(pkts.map(lsRefsWords), limits)
}

/** Of `<oid> <refname> peeled:<oid>`, without the label; none where something else stands there. */
function lsRefsWords(pkt: Pkt): string[] {
  const words = typeof pkt === 'string' ? chomp(pkt).split(' ') : []
  const label = words[2]
  if (label === undefined) {
    return words
  }
  words[2] = label.substring(7)
  return label.indexOf('peeled:') === 0 ? words : []
}

/** `tags`: the words of each, object id, name and peeled id. */
function takeTags(tags: string[][], limits: TagLimits): TagStateAnswer {
  const lines: string[] = []
  for (let i = 0; i < tags.length; i++) {
    const reason = takeTag(lines, tags[i] as string[], limits)
    if (reason !== null) {
      return { kind: 'pass', reason }
    }
  }
  return { kind: 'tags', lines: lines.sort() }
}

function takeTag(lines: string[], words: string[], limits: TagLimits): Reason | null {
  const oid = words[0] || ''
  const name = words[1] || ''
  const peeled = words[2]
  if (words.length > 3 || !isOid(oid, limits.format)) {
    return 'tag-state'
  }
  if (peeled !== undefined && !isOid(peeled, limits.format)) {
    return 'tag-state'
  }
  if (!isTagName(name)) {
    return 'tag-name'
  }
  if (lines.length >= limits.maxTags) {
    return 'tags-limit'
  }
  lines.push(words.join(' '))
  return null
}

/**
 * Reads the tags from the answer to `GET info/refs?service=git-upload-pack` of protocol v0 or v1,
 * which is how a client of these versions learns them.
 */
export function readAdvertisedTags(body: PktSource, limits: TagLimits): TagStateAnswer {
  const pkts = readPkts(body, Infinity, 'body')
  if (pkts === null || !isAdvertisement(pkts)) {
    return { kind: 'pass', reason: 'tag-state' }
  }
  const tags: string[][] = []
  for (let i = 2; i < pkts.length - 1; i++) {
    const pkt = pkts[i]
    if (typeof pkt !== 'string' || !takeAdvertised(tags, chomp(pkt))) {
      return { kind: 'pass', reason: 'tag-state' }
    }
  }
  return takeTags(tags, limits)
}

/** The service, a flush, refs, and a flush. */
function isAdvertisement(pkts: Pkt[]): boolean {
  const last = pkts.length - 1
  return (
    last >= 2 &&
    pkts[0] === '# service=git-upload-pack\n' &&
    pkts[1] === FLUSH &&
    pkts[last] === FLUSH
  )
}

/** Takes one advertised line; a `^{}` line gives the tag before it its peeled id. */
function takeAdvertised(tags: string[][], text: string): boolean {
  const nul = text.indexOf('\0')
  const line = nul < 0 ? text : text.substring(0, nul)
  const space = line.indexOf(' ')
  const oid = line.substring(0, space)
  const name = line.substring(space + 1)
  if (name.indexOf('refs/tags/') !== 0) {
    return true
  }
  if (name.slice(-3) !== '^{}') {
    tags.push([oid, name])
    return true
  }
  const last = tags[tags.length - 1]
  if (last === undefined || last[1] !== name.slice(0, -3)) {
    return false
  }
  last.push(oid)
  return true
}

/**
 * What git check-ref-format refuses never reaches a packed-refs file: names come from upstream.
 * A replacement character is a byte that was not UTF-8, so the name cannot be written back.
 */
export function isTagName(name: string): boolean {
  return (
    name.indexOf('refs/tags/') === 0 &&
    !/[\x00-\x20\x7f~^:?*[\\\ufffd]|\.\.|@\{|\/\/|\/\.|\.lock\/|\.lock$|\/$|\.$/.test(name)
  )
}
