/** Names of tags are taken exactly where git check-ref-format takes them. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isTagName } from '../../njs/src/git/tag-state.ts'
import { runsWithGit } from '../support/fuzz.ts'
import { tryGit } from '../support/git.ts'

function gitTakes(name: string): boolean {
  return tryGit(['check-ref-format', name]).status === 0
}

const HOSTILE = [
  'refs/tags/',
  'refs/tags//a',
  'refs/tags/a/',
  'refs/tags/a//b',
  'refs/tags/..',
  'refs/tags/../../config',
  'refs/tags/a..b',
  'refs/tags/.a',
  'refs/tags/a/.b',
  'refs/tags/a.',
  'refs/tags/a.lock',
  'refs/tags/a.lock/b',
  'refs/tags/a@{b',
  'refs/tags/a b',
  'refs/tags/a\tb',
  'refs/tags/a\nb',
  'refs/tags/a\x7fb',
  'refs/tags/a~b',
  'refs/tags/a^b',
  'refs/tags/a^{}',
  'refs/tags/a:b',
  'refs/tags/a?b',
  'refs/tags/a*b',
  'refs/tags/a[b',
  'refs/tags/a\\b',
]
const FINE = [
  'refs/tags/a',
  'refs/tags/v1.0',
  'refs/tags/a/b/c',
  'refs/tags/a./b',
  'refs/tags/@',
  'refs/tags/a@b',
  'refs/tags/{a}',
  'refs/tags/a.lockb',
  'refs/tags/lock',
  'refs/tags/-a',
  'refs/tags/a]b',
  'refs/tags/größe',
  "refs/tags/$(id)'",
]

describe('git refuses', () => {
  test.each(HOSTILE)('%j', (name) => {
    expect(isTagName(name)).toBe(false)
    expect(gitTakes(name)).toBe(false)
  })
})

describe('git takes', () => {
  test.each(FINE)('%j', (name) => {
    expect(isTagName(name)).toBe(true)
    expect(gitTakes(name)).toBe(true)
  })
})

test.each(['a', 'refs/heads/a', 'refs/tag/a', 'Refs/tags/a', '/refs/tags/a', '', 'tags/a'])(
  '%j is no tag',
  (name) => {
    expect(isTagName(name)).toBe(false)
  }
)

test('a replacement character was a byte that is not UTF-8', () => {
  expect(isTagName('refs/tags/a\ufffd')).toBe(false)
})

/** Pieces of which odd names are made; NUL cannot be an argument of a program. */
const piece = fc.oneof(
  fc.constantFrom('.', '..', '/', '.lock', '@', '{', '@{', '\\', '~', ' ', '-', 'a', 'ä', '😀'),
  fc.integer({ min: 1, max: 127 }).map((code) => String.fromCharCode(code))
)

test('any name: as git check-ref-format decides', () => {
  fc.assert(
    fc.property(fc.array(piece, { minLength: 1, maxLength: 6 }), (pieces) => {
      const name = `refs/tags/${pieces.join('')}`
      expect(isTagName(name)).toBe(gitTakes(name))
    }),
    runsWithGit(300)
  )
})
