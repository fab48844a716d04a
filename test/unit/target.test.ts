/** Addresses on this server and on upstream, with and without a prefix that proxy_pass replaces. */
import { expect, test } from 'vitest'
import { type Addresses, clientLocation, refsOf, replacedTarget } from '../../njs/src/target.ts'

const PLAIN: Addresses = { upstream: 'http://forge', prefix: '', upstreamPrefix: '' }
const MOVED: Addresses = { upstream: 'http://forge', prefix: '/git', upstreamPrefix: '/scm' }
const POST = '/git-upload-pack'

test.each([
  ['the prefix replaced', `/git/a/b${POST}`, `/git/a/b${POST}`, `/scm/a/b${POST}`],
  ['normalised under a prefix', `/git/b${POST}`, `/git/a/../b${POST}`, `/scm/b${POST}`],
  ['from an internal location', `/git/a/_gitcache/probe${POST}`, `/git/a${POST}`, `/scm/a${POST}`],
  ['escaped anew', `/git/a b?c${POST}`, `/git/a%20b%3fc${POST}`, `/scm/a%20b%3Fc${POST}`],
  ['with its query', `/git/a${POST}`, `/git/a${POST}?x=1`, `/scm/a${POST}?x=1`],
])('%s', (_, uri, raw, expected) => {
  expect(replacedTarget(MOVED, uri, raw)).toBe(`http://forge${expected}`)
})

test('the refs of a repository', () => {
  expect(refsOf(`http://forge/a${POST}`)).toBe('http://forge/a/info/refs?service=git-upload-pack')
})

test.each([
  ['of upstream', PLAIN, 'http://forge/new/a', '/new/a'],
  ['of upstream, with prefixes', MOVED, 'http://forge/scm/new', '/git/new'],
  ['outside of the prefix', MOVED, 'http://forge/other', 'http://forge/other'],
  ['of another host', PLAIN, 'http://forge.example.org/a', 'http://forge.example.org/a'],
])('a Location %s', (_, settings, location, expected) => {
  expect(clientLocation(settings, location)).toBe(expected)
})
