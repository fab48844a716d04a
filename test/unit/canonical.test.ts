/** The canonical form: its exact bytes, and what it leaves out. */
import { describe, expect, test } from 'vitest'
import { needsThinPack, writeCanonicalRequest } from '../../njs/src/git/canonical.ts'
import { isStorable } from '../../njs/src/git/fetch-request.ts'
import { sortedUnique } from '../../njs/src/git/oids.ts'
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

const W = `want ${oid(1)}`
const H = `have ${oid(2)}`
const S = `shallow ${oid(3)}`
const FETCH = pkts(['command=fetch']) + DELIM

test.each<[name: string, args: string[], canonical: string[]]>([
  ['a clone', ['ofs-delta', W, 'done'], ['ofs-delta', 'no-progress', W, 'done']],
  [
    'wants sorted, once each',
    [`want ${oid(2)}`, W, `want ${oid(2)}`],
    ['no-progress', W, `want ${oid(2)}`],
  ],
  ['haves sorted', [W, `have ${oid(3)}`, H], ['no-progress', W, H, `have ${oid(3)}`]],
  ['no thin-pack in a clone', ['thin-pack', W, 'done'], ['no-progress', W, 'done']],
  ['thin-pack with haves', ['thin-pack', W, H], ['thin-pack', 'no-progress', W, H]],
  ['thin-pack with shallows', ['thin-pack', W, S], ['thin-pack', 'no-progress', W, S]],
  [
    'all there is, in the other order',
    ['done', H, 'filter tree:0', 'deepen 1', S, W, 'ofs-delta', 'include-tag', 'thin-pack'],
    [
      'thin-pack',
      'include-tag',
      'ofs-delta',
      'no-progress',
      W,
      S,
      'deepen 1',
      'filter tree:0',
      H,
      'done',
    ],
  ],
])('v2: %s', (_, args, canonical) => {
  expect(writeCanonicalRequest(fetchOf(v2(args), V2))).toBe(FETCH + pkts(canonical) + FLUSH)
})

test.each<[name: string, needs: string[], canonical: string[]]>([
  [
    'a clone',
    [`${W} multi_ack_detailed no-done side-band-64k thin-pack ofs-delta agent=x`],
    [`${W} side-band-64k ofs-delta no-progress`],
  ],
  [
    'depth, wants sorted',
    [`want ${oid(2)} side-band-64k include-tag thin-pack`, W, S, 'deepen 1'],
    [`${W} side-band-64k thin-pack include-tag no-progress`, `want ${oid(2)}`, `${S}`, 'deepen 1'],
  ],
  [
    'filter',
    [`${W} side-band-64k filter`, 'filter blob:none'],
    [`${W} side-band-64k no-progress filter`, 'filter blob:none'],
  ],
])('v0: %s', (_, needs, canonical) => {
  const written = writeCanonicalRequest(fetchOf(v0(needs), V0))
  expect(written).toBe(pkts(canonical) + FLUSH + pkts(['done']))
})

test('sha256 says so in both', () => {
  const body2 = v2With(['command=fetch', 'object-format=sha256'], [`want ${oid256(1)}`])
  expect(writeCanonicalRequest(fetchOf(body2, V2))).toContain('object-format=sha256\n0001')
  const body0 = v0([`want ${oid256(1)} side-band-64k object-format=sha256`])
  expect(writeCanonicalRequest(fetchOf(body0, V0))).toContain(' object-format=sha256\n')
})

test('sha1 is not said, since old servers die of it', () => {
  const body = v2With(['command=fetch', 'object-format=sha1'], [W])
  expect(writeCanonicalRequest(fetchOf(body, V2))).not.toContain('object-format')
})

describe('sortedUnique', () => {
  test.each([
    [[], []],
    [
      ['b', 'a', 'b', 'a'],
      ['a', 'b'],
    ],
    [
      ['b', 'a'],
      ['a', 'b'],
    ],
  ])('%j is %j', (oids, expected) => {
    expect(sortedUnique(oids)).toEqual(expected)
  })

  test('leaves its argument as it is', () => {
    const oids = ['b', 'a']
    sortedUnique(oids)
    expect(oids).toEqual(['b', 'a'])
  })
})

test.each([
  [[W, 'thin-pack'], false],
  [[W, H], false],
  [[W, H, 'thin-pack'], true],
  [[W, S, 'thin-pack'], true],
])('%j needs a thin pack: %s', (args, expected) => {
  expect(needsThinPack(fetchOf(v2(args), V2))).toBe(expected)
})

test.each([
  [[W, 'done'], true],
  [[W, 'deepen 1'], true],
  [[W, 'deepen-since 1700000000'], false],
])('%j may be stored: %s', (args, expected) => {
  expect(isStorable(fetchOf(v2(args), V2))).toBe(expected)
})
