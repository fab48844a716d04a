/** What the sidecar may make nginx do: its words become file names, paths and status codes. */
import { expect, test } from 'vitest'
import { follow, readState, type SidecarState } from '../../njs/src/act.ts'

const KEY = 'ab'.repeat(32)
const JOB = '0123456789abcdef0123456789abcdef'
const DOWN = { kind: 'pass', result: 'pass; reason=sidecar' }

const REFUSED = {
  kind: 'refuse',
  result: 'pass; reason=overloaded',
  body: 'upstream refused the same request just now\n',
}

const TABLE: [what: string, state: SidecarState, expected: object][] = [
  [
    'a stored answer',
    { state: 'ready', key: KEY },
    { kind: 'hit', result: 'hit', file: `/packs/ab/${KEY}` },
  ],
  ['a key that climbs', { state: 'ready', key: `../${KEY}` }, DOWN],
  ['no key', { state: 'ready' }, DOWN],
  [
    'a stream',
    { state: 'stream', job: JOB, result: 'miss' },
    { kind: 'stream', result: 'miss', job: JOB },
  ],
  [
    'a joined stream',
    { state: 'stream', job: JOB, result: 'join' },
    { kind: 'stream', result: 'join', job: JOB },
  ],
  [
    'that nothing is common',
    { state: 'nak' },
    { kind: 'say', result: 'nak', body: '0014acknowledgments\n0008NAK\n0000' },
  ],
  ['a job that climbs', { state: 'stream', job: '../../prepare', result: 'miss' }, DOWN],
  ['a reason', { state: 'pass', reason: 'busy' }, { kind: 'pass', result: 'pass; reason=busy' }],
  ['a reason with a line feed', { state: 'pass', reason: 'a\nSet-Cookie: x' }, DOWN],
  ['no reason', { state: 'pass' }, DOWN],
  [
    "upstream's 503",
    { state: 'refused', status: 503, retryAfter: '7' },
    { ...REFUSED, status: 503, headers: { 'Content-Type': 'text/plain', 'Retry-After': '7' } },
  ],
  [
    'a Retry-After that is none',
    { state: 'refused', status: 429, retryAfter: 'soon\r\nX: y' },
    { ...REFUSED, status: 429, headers: { 'Content-Type': 'text/plain' } },
  ],
  ['a status that is no refusal', { state: 'refused', status: 200 }, DOWN],
]

test.each(TABLE)('%s', (_, state, expected) => {
  expect(follow('/packs', state)).toEqual(expected)
})

test('signs of life alone are no word', () => {
  expect(follow('/packs', readState('   '))).toEqual(DOWN)
  expect(follow('/packs', readState(null))).toEqual(DOWN)
  expect(readState(`  {"state":"pass","reason":"busy"}`)).toEqual({ state: 'pass', reason: 'busy' })
})
