import { expect, test } from 'vitest'
import {
  chomp,
  DELIM,
  FLUSH,
  type Pkt,
  type PktSource,
  pktLine,
  RESPONSE_END,
  readPkts,
} from '../../njs/src/git/pkt-line.ts'

test.each<[bytes: string, expected: Pkt[] | null]>([
  ['', []],
  ['0000', [FLUSH]],
  ['0001', [DELIM]],
  ['0002', [RESPONSE_END]],
  ['0004', ['']],
  ['0005a', ['a']],
  ['0006a\n', ['a\n']],
  ['000aabcdef0000', ['abcdef', FLUSH]],
  ['00000000', [FLUSH, FLUSH]],
  ['0003', null],
  ['000Aabcdef', null],
  ['0', null],
  ['000', null],
  ['0006a', null],
  ['0005', null],
  ['00000', null],
  ['0000000', null],
  ['g000', null],
  ['-001', null],
  ['+005a', null],
  ['0x05a', null],
  [' 005a', null],
  ['5   a', null],
  ['\n000', null],
  ['0005a\n', null],
  ['ffff', null],
])('the packets of %j are %j', (bytes, expected) => {
  expect(readPkts(bytes, Infinity, 'body')).toEqual(expected)
})

test('the longest packet of all', () => {
  const text = 'x'.repeat(65516)
  expect(readPkts(pktLine(text), Infinity, 'body')).toEqual([text])
})

test.each<[bytes: string, expected: Pkt[] | null]>([
  ['0005a00000005b', ['a', FLUSH]],
  ['0000zzzz', [FLUSH]],
  ['0005a', ['a']],
  ['0005azzzz0000', null],
])('the packets of %j up to its first flush are %j', (bytes, expected) => {
  expect(readPkts(bytes, Infinity, 'flush')).toEqual(expected)
})

test('of too many packets, one more than the limit', () => {
  expect(readPkts('0005a'.repeat(9), 3, 'body')).toEqual(['a', 'a', 'a', 'a'])
  expect(readPkts('0005a'.repeat(3), 3, 'body')).toEqual(['a', 'a', 'a'])
})

test('counts bytes where characters take several', () => {
  const bytes = Buffer.from('0007äb0005c')
  const source: PktSource = {
    length: bytes.length,
    substring: (start, end) => bytes.toString('utf8', start, end),
  }
  expect(readPkts(source, Infinity, 'body')).toEqual(['äb', 'c'])
})

test.each([
  ['', '0004'],
  ['a', '0005a'],
  ['done\n', '0009done\n'],
  ['x'.repeat(252), `0100${'x'.repeat(252)}`],
  ['x'.repeat(4092), `1000${'x'.repeat(4092)}`],
])('pktLine(%j) is %j', (text, expected) => {
  expect(pktLine(text)).toBe(expected)
})

test.each([
  ['done\n', 'done'],
  ['done', 'done'],
  ['done\n\n', 'done\n'],
  ['done\r\n', 'done\r'],
  ['\n', ''],
  ['', ''],
])('chomp(%j) is %j', (line, expected) => {
  expect(chomp(line)).toBe(expected)
})
