/** Addresses on this server and on upstream, with and without a prefix that proxy_pass replaces. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  type Addresses,
  clientLocation,
  refsOf,
  replacedTarget,
  UNCHANGED,
} from '../../njs/src/target.ts'

const PLAIN: Addresses = { upstream: 'http://forge', prefix: '', upstreamPrefix: '' }
const MOVED: Addresses = { upstream: 'http://forge', prefix: '/git', upstreamPrefix: '/scm' }
const POST = '/git-upload-pack'

test.each([
  ['the prefix replaced', `/git/a/b${POST}`, `/git/a/b${POST}`, `/scm/a/b${POST}`],
  ['normalised under a prefix', `/git/b${POST}`, `/git/a/../b${POST}`, `/scm/b${POST}`],
  ['escaped anew', `/git/a b?c${POST}`, `/git/a%20b%3fc${POST}`, `/scm/a%20b%3Fc${POST}`],
  ['with its query', `/git/a${POST}`, `/git/a${POST}?x=1`, `/scm/a${POST}?x=1`],
])('%s', (_, uri, raw, expected) => {
  expect(replacedTarget(MOVED, uri, raw)).toBe(`http://forge${expected}`)
})

const IN_PLACE: Addresses = { ...PLAIN, upstreamPrefix: '/scm' }

test.each([
  ['as it came', PLAIN, `/a/b${POST}`, `/a/b${POST}`],
  ['with odd bytes', PLAIN, `/a%${POST}`, `/a%25${POST}`],
  ['with what is no UTF-8', PLAIN, `/a\xe4${POST}`, `/a%e4/b/..${POST}`],
  ['that nginx has normalised', PLAIN, `/b c${POST}`, `//a/../b%20c${POST}?x=%2f`],
  ['with slashes that it did not merge', PLAIN, `/a//b${POST}`, `/a//b${POST}`],
  ['outside of the prefix', MOVED, `/other/a${POST}`, `/other/a${POST}`],
  ['beside the prefix', MOVED, `/git.evil.test:81/a${POST}`, `/git.evil.test:81/a${POST}`],
])('%s: unchanged', (_, addresses, uri, raw) => {
  expect(replacedTarget(addresses, uri, raw)).toBe(UNCHANGED)
})

test.each([
  ['rewritten', PLAIN, `/a${POST}`, `/scm/a${POST}?x=1`, `http://forge/a${POST}?x=1`],
  ['rewritten, in odd bytes', PLAIN, `/p${POST}`, `/s/%ff/..${POST}`, `http://forge/p${POST}`],
  ['rewritten to them', PLAIN, `/\xe4 ?${POST}`, `/s${POST}`, `http://forge/%E4%20%3F${POST}`],
  ['rewritten, beside the prefix', MOVED, `/x/a${POST}`, `/a${POST}`, `http://forge/x/a${POST}`],
  ['moved as a whole', IN_PLACE, `/a${POST}`, `/../a${POST}`, `http://forge/scm/a${POST}`],
  ['a name that would go on', { ...MOVED, upstreamPrefix: '.evil' }, `/git/a${POST}`, '', ''],
  ['the same in place', { ...PLAIN, upstreamPrefix: 'scm' }, `/a${POST}`, `/a${POST}`, ''],
])('%s', (_, addresses, uri, raw, expected) => {
  expect(replacedTarget(addresses, uri, raw)).toBe(expected)
})

test('no prefix leads to another host', () => {
  const part = fc.stringMatching(/^[/.:@a-z%?#-]{0,8}$/)
  fc.assert(
    fc.property(part, part, part, (prefix, upstreamPrefix, path) => {
      const uri = `/${path}${POST}`
      const target = replacedTarget({ upstream: 'http://forge', prefix, upstreamPrefix }, uri, uri)
      expect(target).toMatch(/^(unchanged$|http:\/\/forge\/|$)/)
    })
  )
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
