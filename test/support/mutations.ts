/**
 * What is nearly a request: packets doubled, swapped and left out, lengths that are not theirs, bits
 * that flipped, a body that ends early. And bytes that never were one.
 */
import fc from 'fast-check'
import { pktLine } from '../../njs/src/git/pkt-line.ts'
import { anyGitForm, anyNoise, anyRequestAtAll, clientForm } from './arbitraries.ts'
import { CASES } from './cases.ts'
import { RECORDED } from './fixtures.ts'
import { oid, oid256 } from './wire.ts'

export const PROTOCOLS = ['', 'version=1', 'version=2', 'version=2:version=1', 'version=3']
export const anyProtocol = fc.constantFrom(...PROTOCOLS)
export const anyBytes = fc.uint8Array({ maxLength: 400 }).map((list) => Buffer.from(list))

/** Names that every object has, beside those of the protocol. */
const WORDS = [
  ...['command=fetch', 'command=ls-refs', 'done', 'thin-pack', 'ofs-delta', 'include-tag'],
  ...['wait-for-done', 'deepen 1', 'deepen-not x', 'filter blob:none', 'filter ', 'want ', 'have '],
  ...[`want ${oid(1)}`, `have ${oid(2)}`, `shallow ${oid(3)}`, `want ${oid256(1)}`, 'agent=x'],
  ...['object-format=sha256', `want ${oid(1)} side-band-64k`, `${oid(1)} refs/tags/v1`],
  ...['acknowledgments', 'NAK', `ACK ${oid(1)}`, 'ready', 'ERR upload-pack: not our ref x'],
  ...['# service=git-upload-pack', 'version 1', `${oid(1)} refs/tags/v1^{}`, 'a\0b', ''],
  ...Object.getOwnPropertyNames(Object.prototype),
]
const anyPacket = fc.oneof(
  fc.constantFrom('0000', '0001', '0002', '0003', '0004'),
  fc.constantFrom(...WORDS).map((word) => pktLine(word)),
  fc.constantFrom(...WORDS).map((word) => pktLine(`${word}\n`))
)
export const anyPackets = fc
  .array(anyPacket, { maxLength: 12 })
  .map((list) => Buffer.from(list.join('')))

const WAYS = [
  ...(['flip', 'cut', 'edit'] as const),
  ...(['drop', 'double', 'swap', 'length', 'feed', 'insert'] as const),
]

/** One thing that goes wrong. Numbers are taken modulo what there is. */
export interface Mutation {
  how: (typeof WAYS)[number]
  at: number
  to: number
  bytes: Uint8Array
}

export const anyMutation: fc.Arbitrary<Mutation> = fc.record({
  how: fc.constantFrom(...WAYS),
  at: fc.nat(),
  to: fc.nat(),
  bytes: fc.oneof(
    fc.uint8Array({ maxLength: 4 }),
    anyPacket.map((packet) => Buffer.from(packet))
  ),
})
/** Most often one: what is damaged thrice is refused for the first reason. */
export const anyMutations = fc.oneof(
  { weight: 3, arbitrary: fc.tuple(anyMutation) },
  { weight: 1, arbitrary: fc.array(anyMutation, { minLength: 2, maxLength: 4 }) }
)

export function mutated(body: Buffer, mutations: Mutation[]): Buffer {
  return mutations.reduce((bytes, mutation) => mutate(bytes, mutation), body)
}

function mutate(body: Buffer, { how, at, to, bytes }: Mutation): Buffer {
  const pos = at % (body.length + 1)
  switch (how) {
    case 'flip':
      return Buffer.from(body.map((byte, i) => (i === pos ? byte ^ (1 << (to % 8)) : byte)))
    case 'cut':
      return body.subarray(0, pos)
    case 'edit':
      return Buffer.concat([body.subarray(0, pos), bytes, body.subarray(pos + (to % 5))])
    default:
      return Buffer.concat(mutatePackets(packetsOf(body), { how, at, to, bytes }))
  }
}

function mutatePackets(packets: Buffer[], { how, at, to, bytes }: Mutation): Buffer[] {
  const i = at % (packets.length + 1)
  const j = to % (packets.length + 1)
  const one = packets.slice(i, i + 1)
  const without = packets.toSpliced(i, 1)
  switch (how) {
    case 'drop':
      return without
    case 'double':
      return packets.toSpliced(j, 0, ...one)
    case 'swap':
      return without.toSpliced(j, 0, ...one)
    case 'length':
      return packets.toSpliced(i, 1, ...one.map((packet) => lengthen(packet, to)))
    case 'feed':
      return packets.toSpliced(i, 1, ...one.map(feed))
    default:
      return packets.toSpliced(i, 0, Buffer.from(bytes))
  }
}

/** The digits say a little more or less than there is, or anything. */
function lengthen(packet: Buffer, by: number): Buffer {
  const length = by % 3 === 0 ? by % 0x10000 : Math.max(0, packet.length + (by % 9) - 4)
  return Buffer.concat([Buffer.from(length.toString(16).padStart(4, '0')), packet.subarray(4)])
}

/** One line feed more than there was: of two, a reader takes off one. */
function feed(packet: Buffer): Buffer {
  return packet.length <= 4
    ? packet
    : Buffer.from(pktLine(`${packet.toString('latin1', 4)}\n`), 'latin1')
}

/** The packets of a body with their digits; what does not parse is one more. */
export function packetsOf(body: Buffer): Buffer[] {
  const packets: Buffer[] = []
  for (let pos = 0; pos < body.length; ) {
    const digits = body.toString('latin1', pos, pos + 4)
    const length = /^[0-9a-f]{4}$/.test(digits) ? Number.parseInt(digits, 16) : body.length
    packets.push(body.subarray(pos, pos + Math.max(4, length)))
    pos += Math.max(4, length)
  }
  return packets
}

const anyPlain = anyGitForm.map(({ form }) => Buffer.from(form))
const anyBody = fc.oneof(
  anyPlain,
  fc.constantFrom(...RECORDED, ...CASES).map(({ body }) => Buffer.from(body, 'latin1')),
  fc.tuple(anyRequestAtAll, anyNoise).map(([r, noise]) => Buffer.from(clientForm(r, noise)))
)
export const anyNearly = fc
  .tuple(anyBody, anyMutations)
  .map(([body, mutations]) => mutated(body, mutations))

export const anyInput = fc.oneof(anyBytes, anyPackets, anyPlain, anyNearly)

/** The largest body that nginx reads itself (njs/src/nginx/request.ts). */
export const MAX_BODY = 64 * 1024

/** A body whose packets are all alike, as many as are read at once. */
const anyUniform = fc
  .tuple(fc.constantFrom('', '0012command=fetch\n0001'), anyPacket, fc.nat(MAX_BODY))
  .map(([head, packet, size]) => {
    const count = Math.ceil(size / packet.length)
    return Buffer.from(`${head}${packet.repeat(count)}0000`)
  })

/** Bytes over and over, up to what is read at once. */
const anyRepeated = fc
  .tuple(anyInput, fc.integer({ min: 2, max: MAX_BODY }))
  .map(([bytes, size]) => (bytes.length === 0 ? bytes : Buffer.alloc(size, bytes)))

export const anyLargeInput = fc.oneof(anyUniform, anyRepeated)
