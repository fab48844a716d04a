/** Whatever arrives, there is a decision: never an exception, and never a reason of no name. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Piece, splitAnswer } from '../../njs/src/git/answer.ts'
import { parseBody, protocolFamily } from '../../njs/src/git/classify.ts'
import { gunzip } from '../../njs/src/git/gzip.ts'
import { type PktSource, pktLine } from '../../njs/src/git/pkt-line.ts'
import { readProbeAnswer } from '../../njs/src/git/probe.ts'
import { REASONS } from '../../njs/src/git/reasons.ts'
import { parseRepositoryPath, repositoryId } from '../../njs/src/git/repository-path.ts'
import { readAdvertisedTags, readLsRefsTags } from '../../njs/src/git/tag-state.ts'
import { anyRequestAtAll } from '../support/arbitraries.ts'
import { runs } from '../support/fuzz.ts'
import { anyBytes, anyInput, anyLargeInput, anyPackets, anyProtocol } from '../support/mutations.ts'

/** As in njs/src/nginx/upload-pack.ts. */
const MAX_LINES = 400

/** The ways in which bytes reach the core: latin1 in the sidecar, UTF-8 ranges in njs. */
function sourcesOf(bytes: Buffer): PktSource[] {
  return [
    bytes.toString('latin1'),
    { length: bytes.length, substring: (start, end) => bytes.toString('utf8', start, end) },
  ]
}

function expectReason(reason: string): void {
  expect(Object.hasOwn(REASONS, reason)).toBe(true)
}

test('any body is a fetch or passes with a reason of the table', () => {
  fc.assert(
    fc.property(anyInput, anyProtocol, fc.integer({ min: 0, max: 50 }), (bytes, protocol, max) => {
      for (const source of sourcesOf(bytes)) {
        const parsed = parseBody(source, protocol, max)
        if (parsed.kind === 'pass') {
          expectReason(parsed.reason)
        } else {
          expect(parsed.request.wants.length).toBeGreaterThan(0)
          expect(parsed.request.family).toBe(protocolFamily(protocol) ?? 0)
        }
      }
    }),
    runs()
  )
})

test('any body of any size is decided', () => {
  const limits = { format: 'sha1', maxTags: 5000 } as const
  fc.assert(
    fc.property(anyLargeInput, anyProtocol, (bytes, protocol) => {
      for (const source of sourcesOf(bytes)) {
        expect(['fetch', 'pass']).toContain(parseBody(source, protocol, MAX_LINES).kind)
        expect(['tags', 'pass']).toContain(readLsRefsTags(source, limits).kind)
        expect(['tags', 'pass']).toContain(readAdvertisedTags(source, limits).kind)
      }
    }),
    runs(1 / 8)
  )
})

test('a request that was taken holds the fields of a request and no other', () => {
  const fields = 'deepen done family filter format haves includeTag noProgress ofsDelta shallows'
  fc.assert(
    fc.property(anyInput, anyProtocol, (bytes, protocol) => {
      const parsed = parseBody(bytes.toString('latin1'), protocol, 100)
      if (parsed.kind === 'fetch') {
        expect(Object.keys(parsed.request).sort().join(' ')).toBe(`${fields} thinPack wants`)
      }
    }),
    runs()
  )
})

test('any answer to a probe is yes, not our ref, or no', () => {
  fc.assert(
    fc.property(anyInput, anyRequestAtAll, (bytes, request) => {
      const answer = readProbeAnswer(request, bytes.toString('latin1'))
      expect(['yes', 'not-our-ref', 'no']).toContain(answer.kind)
      if (answer.kind === 'yes') {
        expect(answer.acknowledged.filter((have) => !request.haves.includes(have))).toEqual([])
      }
    }),
    runs()
  )
})

test.each([
  ['ls-refs', readLsRefsTags],
  ['advertisement', readAdvertisedTags],
])('any %s is a tag state or passes', (_, read) => {
  fc.assert(
    fc.property(anyInput, fc.constantFrom('sha1', 'sha256'), (bytes, format) => {
      for (const source of sourcesOf(bytes)) {
        const answer = read(source, { format, maxTags: 5 })
        if (answer.kind === 'pass') {
          expectReason(answer.reason)
        } else {
          expect(answer.lines).toEqual(answer.lines.toSorted())
        }
      }
    }),
    runs()
  )
})

test('any bytes inflate to something within the limit, or not at all', () => {
  const magic = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255])
  const size = (n: number) => Buffer.from(Uint32Array.of(0, n).buffer)
  fc.assert(
    fc.property(anyBytes, fc.integer({ min: 0, max: 2000 }), (bytes, n) => {
      for (const data of [bytes, Buffer.concat([magic, bytes, size(n)])]) {
        const plain = gunzip(data, 1000)
        expect(plain === null || plain.length <= 1000).toBe(true)
      }
    }),
    runs()
  )
})

describe('the splitter of answers', () => {
  test('any bytes, cut anywhere, leave one state', () => {
    fc.assert(
      fc.property(
        fc.oneof(anyBytes, anyPackets),
        fc.constantFrom<0 | 2>(0, 2),
        fc.array(fc.nat({ max: 20 }), { maxLength: 20 }),
        (bytes, family, cuts) => {
          expect(scanned(bytes, family, cuts)).toEqual(scanned(bytes, family, []))
        }
      ),
      runs()
    )
  })

  function scanned(bytes: Buffer, family: 0 | 2, cuts: number[]) {
    const splitter = splitAnswer(family)
    const pieces: Piece[] = []
    let pos = 0
    for (const size of cuts) {
      pieces.push(...splitter.push(bytes.subarray(pos, pos + size)))
      pos = Math.min(bytes.length, pos + size)
    }
    pieces.push(...splitter.push(bytes.subarray(pos)))
    const of = (kinds: RegExp) =>
      Buffer.concat(pieces.filter(({ kind }) => kinds.test(kind)).map((piece) => piece.bytes))
    return { state: splitter.state, kept: of(/kept/), aside: of(/progress|alive/), all: of(/./) }
  }

  test('nothing is lost, and nothing is added', () => {
    fc.assert(
      fc.property(fc.oneof(anyBytes, anyPackets), fc.constantFrom<0 | 2>(0, 2), (bytes, family) => {
        const { all } = scanned(bytes, family, [])
        expect(bytes.subarray(0, all.length)).toEqual(all)
        // What is missing is a packet that has not come to its end.
        expect(bytes.length - all.length).toBeLessThan(0xffff)
      }),
      runs()
    )
  })

  test('progress and signs of life between the packets of a pack are given aside', () => {
    const pack = pktLine('\x01PACK0123456789')
    const between = fc.constantFrom(pktLine('\x02Counting: 1%\r'), pktLine('\x01'))
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.constant(pack), between)),
        fc.array(fc.nat(9)),
        (list, cuts) => {
          const text = `${pktLine('packfile\n')}${list.join('')}0000`
          const { kept, aside } = scanned(Buffer.from(text, 'latin1'), 2, cuts)
          const packs = list.filter((pkt) => pkt === pack)
          expect(kept.toString('latin1')).toBe(`${pktLine('packfile\n')}${packs.join('')}0000`)
          expect(aside.toString('latin1')).toBe(list.filter((pkt) => pkt !== pack).join(''))
        }
      ),
      runs()
    )
  })
})

test.each(['want', 'have', 'shallow'])('a run of %ss is read as its packets one by one', (name) => {
  const hex = fc.string({
    unit: fc.constantFrom(...'0123456789abcdef'),
    minLength: 40,
    maxLength: 40,
  })
  const pkt = (oid: string) => pktLine(`${name} ${oid}\n`)
  const head = pkt('0'.repeat(40)).slice(0, -41)
  const one = fc.oneof(
    { weight: 9, arbitrary: hex.map(pkt) },
    hex.map((oid) => pktLine(`${name} ${oid}`)),
    hex.map((oid) => pkt(oid.toUpperCase())),
    hex.map((oid) => pkt(`${oid.slice(1)}${head}`)),
    hex.map((oid) => `${head}${oid.slice(1)}\n\n`),
    hex.map((oid) => `${head}${oid}a`),
    hex.map((oid) => pktLine(`${name === 'have' ? 'shallow' : 'have'} ${oid}\n`))
  )
  fc.assert(
    fc.property(hex, fc.array(one, { maxLength: 12 }), (wanted, list) => {
      const read = (pkts: string[]) => {
        const first = pktLine(`want ${wanted}`)
        const body = `0011command=fetch0001${first}${pkts.join('')}0009done\n0000`
        const parsed = parseBody(body, 'version=2', 100)
        return parsed.kind === 'pass' ? parsed.reason : { ...parsed.request, ofsDelta: true }
      }
      // A line between any two: there is no run.
      const apart = list.flatMap((packet) => [packet, pktLine('ofs-delta\n')])
      expect(read(list)).toEqual(read(apart))
    }),
    runs()
  )
})

test('any target names a plain path or nothing', () => {
  const piece = fc.constantFrom('/', '.', '..', '%2e', 'a', 'x.git', '?', '~', 'é', '\n', '\\')
  const target = fc.oneof(
    fc.string(),
    fc.array(piece).map((list) => `/${list.join('')}`)
  )
  fc.assert(
    fc.property(target, (start) => {
      const name = parseRepositoryPath(`${start}/git-upload-pack`)
      if (name !== null) {
        expect(new URL(`http://x${name}`).pathname).toBe(name)
        expect(repositoryId(name).length).toBeGreaterThan(0)
      }
    }),
    runs()
  )
})
