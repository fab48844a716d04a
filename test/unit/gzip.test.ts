/** Our gzip against node's zlib, both ways. */
import { constants, gunzipSync, gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { announcedSize, crc32, gunzip, gzipStored, isGzipped } from '../../njs/src/git/gzip.ts'
import { runs } from '../support/fuzz.ts'

const LIMIT = 1024 * 1024
const ours = (data: Uint8Array, limit = LIMIT) => {
  const plain = gunzip(data, limit)
  return plain === null ? null : Buffer.from(plain)
}

/** What answers are made of: refs that resemble one another, bytes that do not, and runs. */
function noise(length: number): Buffer {
  const bytes = Buffer.alloc(length)
  for (let i = 0, x = 1; i < length; i++) {
    x = (Math.imul(x, 1103515245) + 12345) >>> 0
    bytes[i] = x >>> 16
  }
  return bytes
}

const CONTENTS: [name: string, content: Buffer][] = [
  ['nothing', Buffer.alloc(0)],
  ['a byte', Buffer.from('x')],
  ['a probe answer', Buffer.from('0014acknowledgments\n0008NAK\n0000')],
  ['refs', Buffer.from(Array.from({ length: 2000 }, (_, i) => `refs/tags/v${i}\n`).join(''))],
  ['a run', Buffer.alloc(100_000, 'a')],
  ['noise', noise(70_000)],
  ['noise and its copy far behind', Buffer.concat([noise(32_000), noise(32_000)])],
]

describe.each(CONTENTS)('%s', (_, content) => {
  test('node reads what we store', () => {
    expect(gunzipSync(gzipStored(content))).toEqual(content)
  })

  test('we read what we store', () => {
    expect(ours(gzipStored(content))).toEqual(content)
  })

  test.each([0, 1, 6, 9])('we read what node writes at level %i', (level) => {
    expect(ours(gzipSync(content, { level }))).toEqual(content)
  })

  test.each([
    ['filtered', constants.Z_FILTERED],
    ['huffman only', constants.Z_HUFFMAN_ONLY],
    ['run lengths', constants.Z_RLE],
    ['fixed codes', constants.Z_FIXED],
  ])('and with %s', (_name, strategy) => {
    expect(ours(gzipSync(content, { strategy }))).toEqual(content)
  })

  test('not beyond the limit', () => {
    const zipped = gzipSync(content)
    expect(ours(zipped, content.length)).toEqual(content)
    expect(content.length > 0 ? ours(zipped, content.length - 1) : null).toBeNull()
  })
})

test.each([0, 1, 65_534, 65_535, 65_536, 131_070, 131_071])('%i bytes stored', (length) => {
  const content = noise(length)
  const stored = gzipStored(content)
  expect(announcedSize(stored)).toBe(length)
  expect(gunzipSync(stored)).toEqual(content)
})

test('crc32 has its check value', () => {
  expect(crc32(Buffer.from('123456789'))).toBe(0xcbf43926)
})

test.each([
  [true, 'what node writes', gzipSync('x')],
  [false, 'too short', gzipSync('x').subarray(0, 17)],
  [false, 'text', Buffer.from('0014acknowledgments\n0008NAK\n0000')],
  [false, 'another method', Buffer.concat([Buffer.from([0x1f, 0x8b, 7]), Buffer.alloc(20)])],
  [false, 'zlib', Buffer.concat([Buffer.from([0x78, 0x9c, 8]), Buffer.alloc(20)])],
])('is gzip: %s, %s', (expected, _, data) => {
  expect(isGzipped(data)).toBe(expected)
})

/** Fixed codes: a copy of 3 bytes from 1 back, then the end; trailer of three zero bytes. */
const COPY_OF_NOTHING = Buffer.concat([
  gzipSync('').subarray(0, 10),
  Buffer.from([0x03, 0x02, 0x00]),
  Buffer.from(Uint32Array.of(crc32(Buffer.alloc(3)), 3).buffer),
])

describe('damaged', () => {
  const content = Buffer.from('0032want 1111\n'.repeat(50))
  const flipped = (zipped: Buffer, at: number) => {
    const copy = Buffer.from(zipped)
    copy[at] = (copy[at] as number) ^ 1
    return copy
  }

  test.each([0, 6])('cut anywhere, at level %i', (level) => {
    const zipped = gzipSync(content, { level })
    for (let length = 0; length < zipped.length; length++) {
      expect(ours(zipped.subarray(0, length))).toBeNull()
    }
  })

  test.each<[what: string, data: Buffer]>([
    ['bytes behind it', Buffer.concat([gzipSync(content), Buffer.from('x')])],
    ['two members', Buffer.concat([gzipSync(content), gzipSync(content)])],
    ['a header with flags', flipped(gzipSync(content), 3)],
    ['another size', flipped(gzipSync(content), gzipSync(content).length - 4)],
    ['an unknown block type', Buffer.concat([gzipSync('').subarray(0, 10), Buffer.alloc(12, 7)])],
    ['a stored block whose lengths differ', flipped(gzipSync(content, { level: 0 }), 13)],
    ['a copy from before the beginning', COPY_OF_NOTHING],
    ['a byte of content', flipped(gzipSync(content, { level: 0 }), 20)],
    ['the checksum', flipped(gzipSync(content), gzipSync(content).length - 8)],
  ])('%s', (_, data) => {
    expect(ours(data)).toBeNull()
  })
})

describe('any bytes', () => {
  const bytes = fc.uint8Array({ maxLength: 5000 })

  test('stored and read by both', () => {
    fc.assert(
      fc.property(bytes, (content) => {
        const stored = gzipStored(content)
        expect(gunzipSync(stored)).toEqual(Buffer.from(content))
        expect(ours(stored)).toEqual(Buffer.from(content))
      }),
      runs()
    )
  })

  test('written by node with any level and strategy', () => {
    const level = fc.integer({ min: 0, max: 9 })
    const strategy = fc.integer({ min: 0, max: 4 })
    const text = fc.array(fc.constantFrom('want ', 'refs/tags/', '0032', 'a', '\n'))
    const content = fc.oneof(
      bytes,
      text.map((words) => Buffer.from(words.join('')))
    )
    fc.assert(
      fc.property(content, level, strategy, (plain, l, s) => {
        const zipped = gzipSync(plain, { level: l, strategy: s })
        expect(ours(zipped)).toEqual(Buffer.from(plain))
      }),
      runs()
    )
  })

  /** zlib's word on it; null where it throws. */
  function nodes(data: Uint8Array): Buffer | null {
    try {
      return gunzipSync(data, { maxOutputLength: LIMIT })
    } catch {
      return null
    }
  }

  test('damaged: never an exception, and never what zlib would not give', () => {
    const change = fc.tuple(fc.nat(), fc.integer({ min: 1, max: 255 }))
    fc.assert(
      fc.property(bytes, fc.constantFrom(0, 6), fc.array(change), (content, level, changes) => {
        const zipped = gzipSync(content, { level })
        for (const [at, mask] of changes) {
          const i = 10 + (at % (zipped.length - 10))
          zipped[i] = (zipped[i] ?? 0) ^ mask
        }
        const read = ours(zipped)
        expect(read === null || nodes(zipped)?.equals(read) === true).toBe(true)
      }),
      runs()
    )
  })
})
