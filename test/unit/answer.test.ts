/** The scanner of answers: what it knows at the end, however the bytes were cut. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type AnswerState, splitAnswer } from '../../njs/src/git/answer.ts'
import { writeCanonicalRequest } from '../../njs/src/git/canonical.ts'
import { pktLine } from '../../njs/src/git/pkt-line.ts'
import { makeRepository, oidOf, scratch, uploadPack } from '../support/git.ts'
import { DELIM, FLUSH, fetchOf, oid, pkts, V0, V2, v0, v2 } from '../support/wire.ts'

function scan(family: 0 | 2, bytes: Buffer, size = bytes.length): AnswerState {
  const scanner = splitAnswer(family)
  for (let pos = 0; pos < bytes.length; pos += size) {
    scanner.push(bytes.subarray(pos, pos + size))
  }
  return scanner.state
}

const NOTHING: AnswerState = {
  started: false,
  failed: false,
  damaged: false,
  complete: false,
  shallows: [],
}
const STARTED = { ...NOTHING, started: true }
const COMPLETE = { ...STARTED, complete: true }
const FAILED = { ...NOTHING, failed: true }
const DAMAGED = { ...FAILED, damaged: true }

const band = (number: number, text: string) => pktLine(String.fromCharCode(number) + text)
const PACK = band(1, 'PACK0123456789abcdefghijklmnop')
const KEEP_ALIVE = band(1, '')
const HEAD2 = pkts(['packfile'])
const HEAD0 = pkts(['NAK'])
const ERR = pktLine(`ERR upload-pack: not our ref ${oid(1)}`)
const SHALLOW = pkts([`shallow ${oid(1)}`, `unshallow ${oid(2)}`])
const BOUNDARY = { shallows: [oid(1)] }

const TABLE: [family: 0 | 2, what: string, bytes: string, expected: AnswerState][] = [
  [2, 'nothing', '', NOTHING],
  [2, 'an empty answer', FLUSH, NOTHING],
  [2, 'no pack yet', HEAD2, NOTHING],
  [2, 'keep-alive', HEAD2 + KEEP_ALIVE, NOTHING],
  [2, 'keep-alive and a flush', HEAD2 + KEEP_ALIVE + FLUSH, NOTHING],
  [2, 'progress', HEAD2 + band(2, 'Counting objects'), NOTHING],
  [2, 'pack data', HEAD2 + PACK, STARTED],
  [2, 'keep-alive, then pack data', HEAD2 + KEEP_ALIVE + PACK, STARTED],
  [2, 'an empty packet, then pack data', `${HEAD2}0004${PACK}`, STARTED],
  [2, 'a whole answer', HEAD2 + PACK + FLUSH, COMPLETE],
  [
    2,
    'acknowledgments before it',
    pkts(['acknowledgments', `ACK ${oid(1)}`, 'ready']) + DELIM + HEAD2 + PACK + FLUSH,
    COMPLETE,
  ],
  [2, 'acknowledgments alone', pkts(['acknowledgments', 'NAK']) + FLUSH, NOTHING],
  [
    2,
    'shallow-info',
    pkts(['shallow-info']) + SHALLOW + DELIM + HEAD2 + PACK + FLUSH,
    { ...COMPLETE, ...BOUNDARY },
  ],
  [2, 'no flush', HEAD2 + PACK + PACK, STARTED],
  [2, 'cut in a packet', (HEAD2 + PACK + PACK).slice(0, -5), STARTED],
  [2, 'cut in the flush', (HEAD2 + PACK + FLUSH).slice(0, -1), STARTED],
  [2, 'data after the flush', HEAD2 + PACK + FLUSH + PACK, STARTED],
  [2, 'band 3', HEAD2 + band(3, 'fatal: bad object'), DAMAGED],
  [
    2,
    'band 3 within a pack',
    HEAD2 + PACK + band(3, 'fatal') + FLUSH,
    {
      ...DAMAGED,
      started: true,
    },
  ],
  [2, 'ERR', ERR, FAILED],
  [2, 'ERR within a pack', HEAD2 + PACK + ERR + FLUSH, { ...FAILED, started: true }],
  [2, 'an unknown band', HEAD2 + band(4, 'x'), FAILED],
  [2, 'a length of 0003', `${HEAD2}0003`, FAILED],
  [2, 'no length', '<html>', FAILED],
  [2, 'nothing counts after a failure', `zzzz${HEAD2}${PACK}${FLUSH}`, FAILED],
  [0, 'a whole answer', HEAD0 + PACK + FLUSH, COMPLETE],
  [0, 'an ACK before it', pkts([`ACK ${oid(1)}`]) + PACK + FLUSH, COMPLETE],
  [0, 'depth', SHALLOW + FLUSH + HEAD0 + PACK + FLUSH, { ...COMPLETE, ...BOUNDARY }],
  [0, 'depth without anything shallow', FLUSH + HEAD0 + PACK + FLUSH, COMPLETE],
  [0, 'NAK alone', HEAD0, NOTHING],
  [0, 'the boundary alone', SHALLOW + FLUSH, { ...NOTHING, ...BOUNDARY }],
  [0, 'keep-alive', HEAD0 + KEEP_ALIVE, NOTHING],
  [0, 'no flush', HEAD0 + PACK, STARTED],
  [0, 'band 3', HEAD0 + band(3, 'fatal'), DAMAGED],
  [0, 'ERR', ERR, FAILED],
  [0, 'a section of v2', HEAD2 + PACK + FLUSH, FAILED],
]

describe.each([1, 2, 3, 4, 5, 7, 16, 17, 1000])('in chunks of %i', (size) => {
  test.each(TABLE)('v%i, %s', (family, _, bytes, expected) => {
    expect(scan(family, Buffer.from(bytes, 'latin1'), size)).toEqual(expected)
  })
})

test('the first byte of pack data is enough to begin with', () => {
  const scanner = splitAnswer(2)
  scanner.push(Buffer.from(`${HEAD2}ffff\x01`))
  expect(scanner.state.started).toBe(false)
  scanner.push(Buffer.from('P'))
  expect(scanner.state.started).toBe(true)
})

describe('real answers', () => {
  const work = scratch()
  const dir = `${work.dir}/r.git`
  const stories: [family: 0 | 2, what: string, args: () => string[], shallow: boolean][] = [
    [2, 'a clone', () => [want(), 'ofs-delta', 'done'], false],
    [2, 'depth 1', () => [want(), 'deepen 1', 'done'], true],
    [2, 'incremental', () => [want(), 'thin-pack', `have ${oidOf(dir, 'main~4')}`], false],
    [2, 'no blobs', () => [want(), 'filter blob:none', 'done'], false],
    [0, 'a clone', () => [`${want()} side-band-64k ofs-delta`], false],
    [0, 'depth 1', () => [`${want()} side-band-64k`, 'deepen 1'], true],
  ]
  const want = () => `want ${oidOf(dir, 'main')}`
  beforeAll(() => makeRepository(dir))
  afterAll(work.remove)

  test.each(stories)('v%i, %s', (family, _, args, isShallow) => {
    const body = family === 2 ? v2(args()) : v0(args())
    const request = fetchOf(body, family === 2 ? V2 : V0)
    const answer = uploadPack(dir, family, writeCanonicalRequest(request))
    const shallows = isShallow ? [oidOf(dir, 'main')] : []
    const whole = { ...COMPLETE, shallows }
    for (let size = 1; size < 70; size++) {
      expect(scan(family, answer, size)).toEqual(whole)
    }
    for (let end = 0; end < answer.length; end += 3) {
      expect(scan(family, answer.subarray(0, end))).toMatchObject({ complete: false })
    }
  })

  test('not our ref', () => {
    const answer = uploadPack(dir, 2, v2([`want ${oid(14)}`, 'done']))
    expect(scan(2, answer)).toEqual(FAILED)
  })
})
