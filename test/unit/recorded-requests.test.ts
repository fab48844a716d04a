/** What real clients sent, and what is read in it. */
import { gunzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { announcedSize, gunzip } from '../../njs/src/git/gzip.ts'
import { fixture, fixtureNames, protocolOf, README } from '../support/fixtures.ts'
import { fetchOf, parse } from '../support/wire.ts'

/** How many wants, haves and shallows; then the rest in the order of `summary`. */
const TABLE: [file: string, expected: string][] = [
  ['v2-unshallow.bin', '1 wants 3 haves 1 shallows; deepen 2147483647; ofs thin tags quiet'],
  ['v2-single-branch.bin', '1 wants; done ofs thin tags quiet'],
  ['v2-shallow-since.bin', '1 wants; deepen-since 1700438400; done ofs thin tags quiet'],
  ['v2-shallow-fetch.bin', '1 wants 1 haves 1 shallows; deepen 3; ofs thin tags quiet'],
  ['v2-shallow-exclude.bin', 'pass deepen-not'],
  ['v2-negotiate-only.bin', 'pass no-wants'],
  ['v2-ls-refs.bin', 'pass ls-refs'],
  ['v2-lazy-fetch.bin', '1 wants; blob:none; done ofs thin quiet'],
  ['v2-incremental.bin', '4 wants 3 haves; ofs thin tags quiet'],
  ['v2-full-clone.bin', '5 wants; done ofs thin quiet'],
  ['v2-dulwich.bin', '5 wants; done'],
  ['v2-dulwich-depth-1.bin', '5 wants; deepen 1'],
  ['v2-depth-1.bin', '1 wants; deepen 1; done ofs thin tags quiet'],
  ['v2-by-sha.bin', '1 wants; deepen 1; done ofs thin quiet'],
  ['v2-blob-none.bin', '5 wants; blob:none; done ofs thin quiet'],
  ['v1-full-clone.bin', '5 wants; done ofs thin quiet'],
  ['v0-unshallow.bin', 'pass v0-haves'],
  ['v0-single-branch.bin', '1 wants; done ofs thin tags quiet'],
  ['v0-shallow-since.bin', '1 wants; deepen-since 1700438400; done ofs thin tags quiet'],
  ['v0-shallow-fetch.bin', 'pass v0-haves'],
  ['v0-shallow-exclude.bin', 'pass deepen-not'],
  ['v0-libgit2.bin', '5 wants; done ofs thin tags'],
  ['v0-libgit2-depth-1.bin', '2 wants; deepen 1; done ofs thin tags'],
  ['v0-lazy-fetch.bin', '1 wants; blob:none; done ofs thin quiet'],
  ['v0-isomorphic.bin', '7 wants; done ofs'],
  ['v0-isomorphic-depth-1.bin', '7 wants; deepen 1; done ofs'],
  ['v0-incremental.bin', 'pass v0-haves'],
  ['v0-go-git.bin', '5 wants; done ofs quiet'],
  ['v0-go-git-depth-1.bin', '5 wants; deepen 1; done ofs quiet'],
  ['v0-full-clone.bin', '5 wants; done ofs thin quiet'],
  ['v0-depth-1.bin', '1 wants; deepen 1; done ofs thin tags quiet'],
  ['v0-depth-1-first.bin', 'pass v0-no-done'],
  ['v0-by-sha.bin', '1 wants; deepen 1; done ofs thin quiet'],
  ['v0-blob-none.bin', '5 wants; blob:none; done ofs thin quiet'],
]

function summary(name: string): string {
  const body = fixture(name).toString('latin1')
  const parsed = parse(body, protocolOf(name))
  if (parsed.kind === 'pass') {
    return `pass ${parsed.reason}`
  }
  const r = parsed.request
  const counts = [
    `${r.wants.length} wants`,
    r.haves.length > 0 ? `${r.haves.length} haves` : '',
    r.shallows.length > 0 ? `${r.shallows.length} shallows` : '',
  ]
  const flags = [
    r.done ? 'done' : '',
    r.ofsDelta ? 'ofs' : '',
    r.thinPack ? 'thin' : '',
    r.includeTag ? 'tags' : '',
    r.noProgress ? 'quiet' : '',
  ]
  const parts = [words(counts), r.deepen ?? '', r.filter ?? '', words(flags)]
  return parts.filter((part) => part !== '').join('; ')
}

function words(list: string[]): string {
  return list.filter((word) => word !== '').join(' ')
}

test.each(TABLE)('%s: %s', (file, expected) => {
  expect(summary(file)).toBe(expected)
})

test('every recorded request has a row here and a line in the README', () => {
  const files = fixtureNames()
  expect(TABLE.map(([file]) => file).sort()).toEqual(files.filter((f) => f.endsWith('.bin')).sort())
  expect(files.filter((file) => !README.includes(`| ${file} |`))).toEqual([])
})

test('what git compressed inflates to the request that it is', () => {
  const sent = fixture('v2-many-wants.bin.gz')
  const plain = gunzipSync(sent)
  expect(announcedSize(sent)).toBe(plain.length)
  expect(Buffer.from(gunzip(sent, 65536) ?? [])).toEqual(plain)
  expect(fetchOf(plain.toString('latin1'), 'version=2').wants.length).toBeGreaterThan(20)
})

test('what git and dulwich ask for is the same once it is read', () => {
  const git = fetchOf(fixture('v2-full-clone.bin').toString(), 'version=2')
  const dulwich = fetchOf(fixture('v2-dulwich.bin').toString(), 'version=2')
  expect(new Set(dulwich.wants)).toEqual(new Set(git.wants))
})
