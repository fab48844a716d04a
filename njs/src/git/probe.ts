/**
 * The probe: asks upstream the client's own question with the costly part left out. Every argument
 * line but `done`, and one have that upstream cannot know: the answer is `NAK` and no pack is made.
 * What the client merely names is asked for as well, since it shapes the answer.
 * Source: gitprotocol-v2(5) "fetch", `wait-for-done`; upload-pack.c.
 */
import {
  NO_PROGRESS,
  needs,
  oidLines,
  optionLines,
  writeV0Needs,
  writeV2Head,
} from './canonical.ts'
import type { FetchRequest } from './fetch-request.ts'
import { unique } from './oids.ts'
import { chomp, FLUSH, type Pkt, pktLine, readPkts } from './pkt-line.ts'

export type ProbeAnswer =
  /** Upstream gives this client these objects; `acknowledged`: the haves that it knows, in the client's order. */
  | { kind: 'yes'; acknowledged: string[] }
  /** Upstream does not have this object, or not for this client. */
  | { kind: 'not-our-ref'; oid: string }
  | { kind: 'no' }

/** A shallow oid is a want in disguise: `deepen` sends what lies behind it. */
function withShallowsAsWants(request: FetchRequest): FetchRequest {
  return request.shallows.length === 0
    ? request
    : Object.assign({}, request, { wants: request.wants.concat(request.shallows) })
}

export function writeProbe(request: FetchRequest, unknownOid: string): string {
  const asked = withShallowsAsWants(request)
  return request.family === 2 ? writeV2Probe(asked, unknownOid) : writeV0Probe(asked, unknownOid)
}

function writeV2Probe(asked: FetchRequest, unknownOid: string): string {
  const haves = asked.haves.length === 0 ? '' : writeHaves(asked.haves)
  return (
    writeV2Head('fetch', asked.format) +
    optionLines(asked) +
    NO_PROGRESS +
    (haves === '' ? '' : '0012wait-for-done\n') +
    needs(asked) +
    haves +
    pktLine('have ' + unknownOid + '\n') +
    '0000'
  )
}

/** Oldest first: git >= 2.45 does not acknowledge the parents of haves that it saw earlier. */
function writeHaves(haves: string[]): string {
  return oidLines('have ', haves.slice().reverse())
}

function writeV0Probe(asked: FetchRequest, unknownOid: string): string {
  const undeepened = Object.assign({}, asked, { deepen: null })
  return writeV0Needs(undeepened) + '0000' + pktLine('have ' + unknownOid + '\n') + '0000'
}

/** No have is common: upload-pack's whole answer to a round of negotiation without `done`. */
export const NAK = '0014acknowledgments\n0008NAK\n0000'

/** Reads the complete body of upstream's answer to `writeProbe(request)`. */
export function readProbeAnswer(request: FetchRequest, body: string): ProbeAnswer {
  if (request.family === 2 && body === NAK) {
    return { kind: 'yes', acknowledged: [] }
  }
  const pkts = readPkts(body, Infinity, 'body')
  if (pkts === null || pkts.length === 0) {
    return { kind: 'no' }
  }
  const refused = readRefusal(pkts)
  if (refused !== null) {
    return { kind: 'not-our-ref', oid: refused }
  }
  const acknowledged = request.family === 2 ? readV2Yes(request, pkts) : readV0Yes(body)
  return acknowledged === null ? { kind: 'no' } : { kind: 'yes', acknowledged }
}

function readRefusal(pkts: Pkt[]): string | null {
  if (pkts.length !== 1 || typeof pkts[0] !== 'string') {
    return null
  }
  const match = /^ERR upload-pack: not our ref ([0-9a-f]{40}|[0-9a-f]{64})\n?$(?!\n)/.exec(pkts[0])
  return match === null ? null : (match[1] as string)
}

function readV0Yes(body: string): string[] | null {
  return body === '0008NAK\n' ? [] : null
}

function readV2Yes(request: FetchRequest, pkts: Pkt[]): string[] | null {
  const last = pkts.length - 1
  if (last < 2 || pkts[0] !== 'acknowledgments\n' || pkts[last] !== FLUSH) {
    return null
  }
  if (pkts[1] === 'NAK\n') {
    return last === 2 ? [] : null
  }
  /** Of each have that was sent, whether upstream knows it. */
  const isKnown: { [oid: string]: boolean } = Object.create(null)
  request.haves.forEach((oid) => {
    isKnown[oid] = false
  })
  for (let i = 1; i < last; i++) {
    const line = pkts[i]
    const oid = typeof line === 'string' && line.indexOf('ACK ') === 0 ? chomp(line).slice(4) : ''
    // `ready`, or an ACK of what was not sent: a server that does something else than was asked.
    if (isKnown[oid] === undefined) {
      return null
    }
    isKnown[oid] = true
  }
  return unique(request.haves.filter((oid) => isKnown[oid]))
}
