/** What is said of a pack without git is what git index-pack says of it, or that it is not known. */
import { createHash } from 'node:crypto'
import { rmSync } from 'node:fs'
import path from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { checkPack } from '../../sidecar/src/pack-check.ts'
import { git, makeRepository, scratch, tryGit } from '../support/git.ts'

const work = scratch()
afterAll(work.remove)

async function* piecesOf(pack: Buffer, lengths: number[]): AsyncGenerator<Buffer> {
  for (let at = 0, i = 0; at < pack.length; i++) {
    const length = lengths[i % lengths.length] ?? 1
    yield pack.subarray(at, at + length)
    at += length
  }
}

describe.each(['sha1', 'sha256'] as const)('%s', (format) => {
  const dir = path.join(work.dir, `${format}.git`)
  makeRepository(dir, format)
  const inRepository = (...args: string[]) => git(['--git-dir', dir, ...args])
  for (const last of ['one', 'two']) {
    const similar = Array.from({ length: 300 }, (_, i) => `line ${i}\n`).join('') + last
    git(['--git-dir', dir, 'hash-object', '-w', '--stdin'], similar)
  }
  const oids = inRepository('cat-file', '--batch-all-objects', '--batch-check=%(objectname)').split(
    '\n'
  )
  const packOf = (wanted: string[], ...options: string[]) =>
    tryGit(['--git-dir', dir, 'pack-objects', '--stdout', '-q', ...options], wanted.join('\n'))
      .stdout
  /** The first two have deltas, of either kind; the last is a commit with its tree and its file. */
  const packs = {
    all: packOf(oids),
    'all, by offset': packOf(oids, '--delta-base-offset'),
    'one commit': packOf(['main', '^main~1'], '--revs'),
  }
  const check = (pack: Buffer, wants: string[], lengths = [pack.length]) =>
    checkPack(piecesOf(pack, lengths), format, wants)

  /** Whether git takes the pack and finds the wants in it. */
  function gitFinds(pack: Buffer, wants: string[]): boolean {
    const into = path.join(work.dir, 'index.git')
    git(['init', '--bare', '--quiet', `--object-format=${format}`, into])
    const indexed = tryGit(['--git-dir', into, 'index-pack', '--stdin'], pack)
    const found = git(['--git-dir', into, 'cat-file', '--batch-check'], `${wants.join('\n')}\n`)
    rmSync(into, { recursive: true })
    return indexed.status === 0 && !/ missing$/m.test(found)
  }

  test.each(Object.keys(packs) as (keyof typeof packs)[])('the tip of %s', async (name) => {
    const tip = inRepository('rev-parse', 'main')
    expect(await check(packs[name], [tip])).toBe('sound')
    expect(gitFinds(packs[name], [tip])).toBe(true)
  })

  test('tags, trees and files are wants as well', async () => {
    const wants = ['v4', 'main^{tree}', 'main:file', 'side'].map((name) =>
      inRepository('rev-parse', name)
    )
    expect(await check(packs.all, wants)).toBe('sound')
  })

  test('what is not there is not found, whatever else is', async () => {
    const absent = '1'.repeat(oids[0]?.length ?? 40)
    expect(await check(packs.all, [absent])).toBe('unsure')
    expect(await check(packs.all, [...oids.slice(0, 2), absent])).toBe('unsure')
    const older = inRepository('rev-parse', 'main~3')
    expect(await check(packs['one commit'], [older])).toBe('unsure')
  })

  test('a delta is left to git', async () => {
    for (const pack of [packs.all, packs['all, by offset']]) {
      const verdicts = await Promise.all(oids.map((oid) => check(pack, [oid])))
      expect(new Set(verdicts)).toEqual(new Set(['sound', 'unsure']))
      expect(gitFinds(pack, oids)).toBe(true)
    }
  })

  test('whatever is wanted, in whatever pieces it comes: sound only where git finds it', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...Object.values(packs)),
        fc.subarray(oids, { minLength: 1, maxLength: 4 }),
        fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1, maxLength: 5 }),
        async (pack, wants, lengths) => {
          const verdict = await check(pack, wants, lengths)
          expect(verdict).not.toBe('damaged')
          if (verdict === 'sound') expect(gitFinds(pack, wants)).toBe(true)
        }
      ),
      { numRuns: 60 }
    )
  })

  test('cut anywhere, changed anywhere, longer by a byte: damaged', async () => {
    const tip = [inRepository('rev-parse', 'main')]
    const pack = packs.all
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: pack.length - 1 }), async (length) => {
        expect(await check(pack.subarray(0, length), tip)).toBe('damaged')
      })
    )
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: pack.length - 1 }),
        fc.integer({ min: 1, max: 255 }),
        async (at, flip) => {
          const changed = Buffer.from(pack)
          changed[at] = (changed[at] ?? 0) ^ flip
          expect(await check(changed, tip)).toBe('damaged')
        }
      )
    )
    expect(await check(Buffer.concat([pack, Buffer.alloc(1)]), tip)).toBe('damaged')
  })

  test('bytes that are no objects, under a right checksum: never an exception, never sound', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (bytes) => {
        const sum = createHash(format).update(bytes).digest()
        expect(await check(Buffer.concat([bytes, sum]), oids.slice(0, 1))).toBe('unsure')
      })
    )
  })
})
