/** The probe: the bytes that go to upstream, and what is read in the answer. */
import { describe, expect, test } from 'vitest'
import type { FetchRequest } from '../../njs/src/git/fetch-request.ts'
import { pktLine } from '../../njs/src/git/pkt-line.ts'
import { type ProbeAnswer, readProbeAnswer, writeProbe } from '../../njs/src/git/probe.ts'
import {
  DELIM,
  FLUSH,
  fetchOf,
  oid,
  oid256,
  pkts,
  V0,
  V2,
  v0,
  v2,
  v2With,
} from '../support/wire.ts'

const UNKNOWN = oid(15)
const W = `want ${oid(1)}`
const FETCH = pkts(['command=fetch']) + DELIM

describe('v2 asks', () => {
  test.each<[name: string, args: string[], probe: string[]]>([
    ['for a clone, without done', ['ofs-delta', W, 'done'], ['ofs-delta', 'no-progress', W]],
    [
      'for tags, depth and filter',
      [W, 'include-tag', 'deepen 1', 'filter tree:0', 'done'],
      ['include-tag', 'no-progress', W, 'deepen 1', 'filter tree:0'],
    ],
    [
      'for shallows as wants too',
      [`want ${oid(5)}`, `shallow ${oid(3)}`],
      ['no-progress', `want ${oid(3)}`, `want ${oid(5)}`, `shallow ${oid(3)}`],
    ],
    [
      'once for a shallow that is wanted',
      [W, `shallow ${oid(1)}`],
      ['no-progress', W, `shallow ${oid(1)}`],
    ],
    [
      'with the haves in reverse',
      ['thin-pack', W, `have ${oid(9)}`, `have ${oid(2)}`, `have ${oid(7)}`, 'done'],
      [
        'thin-pack',
        'no-progress',
        'wait-for-done',
        W,
        `have ${oid(7)}`,
        `have ${oid(2)}`,
        `have ${oid(9)}`,
      ],
    ],
  ])('%s', (_, args, probe) => {
    const expected = FETCH + pkts([...probe, `have ${UNKNOWN}`]) + FLUSH
    expect(writeProbe(fetchOf(v2(args), V2), UNKNOWN)).toBe(expected)
  })

  test('in sha256 where the client does', () => {
    const body = v2With(['command=fetch', 'object-format=sha256'], [`want ${oid256(1)}`])
    const expected = pkts(['command=fetch', 'object-format=sha256']) + DELIM
    expect(writeProbe(fetchOf(body, V2), oid256(15))).toContain(expected)
  })
})

describe('v0 asks', () => {
  test.each<[name: string, needs: string[], probe: string[]]>([
    [
      'for a clone, without multi_ack and no-done',
      [`${W} multi_ack_detailed no-done side-band-64k thin-pack ofs-delta agent=x`],
      [`${W} side-band-64k ofs-delta no-progress`],
    ],
    [
      'without deepen lines, for shallows as wants too',
      [`${W} side-band-64k`, `shallow ${oid(3)}`, 'deepen 1'],
      [`${W} side-band-64k no-progress`, `want ${oid(3)}`, `shallow ${oid(3)}`],
    ],
    [
      'with the filter',
      [`${W} side-band-64k filter`, 'filter blob:none'],
      [`${W} side-band-64k no-progress filter`, 'filter blob:none'],
    ],
  ])('%s', (_, needs, probe) => {
    const expected = pkts(probe) + FLUSH + pkts([`have ${UNKNOWN}`]) + FLUSH
    expect(writeProbe(fetchOf(v0(needs), V0), UNKNOWN)).toBe(expected)
  })
})

const YES: ProbeAnswer = { kind: 'yes', acknowledged: [] }
const NO: ProbeAnswer = { kind: 'no' }
const CLONE = fetchOf(v2([W, 'done']), V2)
const HAVES = fetchOf(v2([W, `have ${oid(3)}`, `have ${oid(2)}`]), V2)
const ZERO = fetchOf(v0([`${W} side-band-64k`]), V0)
const err = (text: string) => pktLine(`ERR ${text}`)
const refusal = (id: string) => err(`upload-pack: not our ref ${id}`)
const ack = (...lines: string[]) => pkts(['acknowledgments', ...lines])
const acknowledged = (...ids: string[]): ProbeAnswer => ({ kind: 'yes', acknowledged: ids })

test.each<[name: string, request: FetchRequest, body: string, expected: ProbeAnswer]>([
  ['NAK', CLONE, ack('NAK') + FLUSH, YES],
  ['NAK to haves', HAVES, ack('NAK') + FLUSH, YES],
  ['ACK of one', HAVES, ack(`ACK ${oid(2)}`) + FLUSH, acknowledged(oid(2))],
  [
    "ACK of two, in the client's order",
    HAVES,
    ack(`ACK ${oid(2)}`, `ACK ${oid(3)}`) + FLUSH,
    acknowledged(oid(3), oid(2)),
  ],
  ['ACK of one, twice', HAVES, ack(`ACK ${oid(3)}`, `ACK ${oid(3)}`) + FLUSH, acknowledged(oid(3))],
  ['ACK of what was not sent', HAVES, ack(`ACK ${oid(4)}`) + FLUSH, NO],
  ['ACK of the unknown one', CLONE, ack(`ACK ${UNKNOWN}`) + FLUSH, NO],
  ['ACK among others', HAVES, ack(`ACK ${oid(2)}`, `ACK ${oid(4)}`) + FLUSH, NO],
  ['ACK common, as v0 says it', HAVES, ack(`ACK ${oid(2)} common`) + FLUSH, NO],
  ['an empty ACK', HAVES, ack('ACK ') + FLUSH, NO],
  ['ready', HAVES, ack(`ACK ${oid(2)}`, 'ready') + FLUSH, NO],
  [
    'ready and a pack',
    HAVES,
    ack(`ACK ${oid(2)}`, 'ready') + DELIM + pkts(['packfile']) + FLUSH,
    NO,
  ],
  ['NAK and ACK', HAVES, ack('NAK', `ACK ${oid(2)}`) + FLUSH, NO],
  ['ACK and NAK', HAVES, ack(`ACK ${oid(2)}`, 'NAK') + FLUSH, NO],
  ['NAK twice', CLONE, ack('NAK', 'NAK') + FLUSH, NO],
  ['no flush', CLONE, ack('NAK'), NO],
  ['a delimiter', CLONE, ack('NAK') + DELIM, NO],
  ['two flushes', CLONE, ack('NAK') + FLUSH + FLUSH, NO],
  ['trailing bytes', CLONE, `${ack('NAK')}${FLUSH}x`, NO],
  ['a line feed at the end', CLONE, `${ack('NAK')}${FLUSH}\n`, NO],
  ['half of a packet', CLONE, (ack('NAK') + FLUSH).slice(0, -2), NO],
  ['no acknowledgments', CLONE, FLUSH, NO],
  ['acknowledgments of nothing', CLONE, ack() + FLUSH, NO],
  ['a pack', CLONE, pkts(['packfile']) + FLUSH, NO],
  ['nothing', CLONE, '', NO],
  ['a login page', CLONE, '<html>', NO],
  ['the yes of v0', CLONE, pkts(['NAK']), NO],
  ['no line feeds', CLONE, pktLine('acknowledgments') + pktLine('NAK') + FLUSH, NO],
  ['a refusal', CLONE, refusal(oid(1)), { kind: 'not-our-ref', oid: oid(1) }],
  ['a refusal with line feed', CLONE, refusal(`${oid(1)}\n`), { kind: 'not-our-ref', oid: oid(1) }],
  ['a refusal in sha256', CLONE, refusal(oid256(1)), { kind: 'not-our-ref', oid: oid256(1) }],
  ['a refusal and more', CLONE, refusal(oid(1)) + FLUSH, NO],
  ['a refusal of half an id', CLONE, refusal('1234'), NO],
  ['a refusal of several', CLONE, refusal(`${oid(1)} ${oid(2)}`), NO],
  ['another error', CLONE, err('access denied'), NO],
  ['v0 NAK', ZERO, pkts(['NAK']), YES],
  ['v0 NAK and more', ZERO, pkts(['NAK', 'NAK']), NO],
  ['v0 NAK and a flush', ZERO, pkts(['NAK']) + FLUSH, NO],
  ['v0 NAK without line feed', ZERO, pktLine('NAK'), NO],
  ['v0 ACK', ZERO, pkts([`ACK ${UNKNOWN}`]), NO],
  ['v0 shallow lines', ZERO, `${pkts([`shallow ${oid(1)}`])}${FLUSH}${pkts(['NAK'])}`, NO],
  ['v0 nothing', ZERO, '', NO],
  ['v0 refusal', ZERO, refusal(oid(1)), { kind: 'not-our-ref', oid: oid(1) }],
  ['the yes of v2', ZERO, ack('NAK') + FLUSH, NO],
])('%s', (_, request, body, expected) => {
  expect(readProbeAnswer(request, body)).toEqual(expected)
})
