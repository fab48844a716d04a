/** The key of an answer: what splits it, what must not, and that it stays what it is. */
import { describe, expect, test } from 'vitest'
import { GOLDEN, GOLDEN_SCOPE } from '../support/cases.ts'
import { keyOf } from '../support/scope.ts'
import { fetchOf, oid, oid256, V0, V2, v0, v2, v2With } from '../support/wire.ts'

const W = `want ${oid(1)}`
const H = `have ${oid(2)}`
const S = `shallow ${oid(3)}`
const BASE = ['thin-pack', 'ofs-delta', W, `want ${oid(4)}`, 'done']

function key(args: string[], capabilities = ['command=fetch']): string {
  return keyOf(fetchOf(v2With(capabilities, args), V2))
}

test.each(GOLDEN)('$name keeps its key', ({ body, protocol, sha256 }) => {
  expect(keyOf(fetchOf(body, protocol))).toBe(sha256)
})

describe('one key, whatever the client adds', () => {
  test.each<[what: string, args: string[], capabilities?: string[]]>([
    ['another order', BASE.toReversed()],
    ['duplicates', [...BASE, W, W]],
    ['an agent', BASE, ['agent=git/2.39.5', 'command=fetch']],
    ['a session id', BASE, ['command=fetch', 'session-id=1']],
    ['the default object format', BASE, ['command=fetch', 'object-format=sha1']],
    ['no progress', [...BASE, 'no-progress']],
    ['no thin pack where none can be', BASE.slice(1)],
    ['wait-for-done with done', [...BASE, 'wait-for-done']],
  ])('%s', (_, args, capabilities) => {
    expect(key(args, capabilities)).toBe(key(BASE))
  })

  test('haves and shallows in another order', () => {
    const more = [`have ${oid(5)}`, `shallow ${oid(6)}`]
    expect(key([...BASE, H, S, ...more])).toBe(key([...BASE, ...more, S, H]))
  })

  test('thin-pack counts again with haves', () => {
    expect(key([...BASE, H])).not.toBe(key([...BASE.slice(1), H]))
  })
})

describe('another key for', () => {
  const others: [what: string, args: string[]][] = [
    ['another want', [...BASE, `want ${oid(5)}`]],
    ['one want less', BASE.filter((line) => line !== W)],
    ['a have', [...BASE, H]],
    ['a shallow', [...BASE, S]],
    ['the same id as a have and as a shallow', [...BASE, `shallow ${oid(2)}`]],
    ['depth 1', [...BASE, 'deepen 1']],
    ['depth 2', [...BASE, 'deepen 2']],
    ['a date', [...BASE, 'deepen-since 1']],
    ['a filter', [...BASE, 'filter blob:none']],
    ['another filter', [...BASE, 'filter tree:0']],
    ['filters in another order', [...BASE, 'filter combine:tree:0+blob:none']],
    ['and the other', [...BASE, 'filter combine:blob:none+tree:0']],
    ['no done', BASE.slice(0, -1)],
    ['no ofs-delta', BASE.filter((line) => line !== 'ofs-delta')],
    ['tags', [...BASE, 'include-tag']],
  ]

  test.each(others)('%s', (_, args) => {
    expect(key(args)).not.toBe(key(BASE))
  })

  test('each of them', () => {
    const keys = new Set(others.map(([, args]) => key(args)))
    expect(keys.size).toBe(others.length)
  })

  test('the object format', () => {
    const args = [`want ${oid256(1)}`]
    const formats = ['command=fetch', 'object-format=sha256']
    expect(key(args, formats)).not.toBe(key([W]))
  })

  test('the protocol', () => {
    const zero = keyOf(fetchOf(v0([`${W} side-band-64k ofs-delta`]), V0))
    expect(zero).not.toBe(keyOf(fetchOf(v2([W, 'ofs-delta', 'done']), V2)))
  })

  test('v1 is v0: their answers to a POST are the same bytes', () => {
    const body = v0([`${W} side-band-64k ofs-delta`])
    expect(keyOf(fetchOf(body, 'version=1'))).toBe(keyOf(fetchOf(body, V0)))
  })
})

describe('the scope', () => {
  const plain = fetchOf(v2(BASE), V2)
  const tagged = fetchOf(v2([...BASE, 'include-tag']), V2)

  test('repository and upstream are in the key', () => {
    const scopes = [
      {},
      { repository: '/group/y' },
      { repository: '/group/X' },
      { upstream: 'http://other' },
      { upstream: 'https://forge' },
      { vhost: '' },
      { vhost: 'evil.test git.example.org:8080' },
      { upstream: `${GOLDEN_SCOPE.upstream}/group`, repository: '/x' },
    ]
    expect(new Set(scopes.map((scope) => keyOf(plain, scope))).size).toBe(scopes.length)
  })

  test('the tag state counts with include-tag', () => {
    expect(keyOf(tagged, { tagState: 'a' })).not.toBe(keyOf(tagged, { tagState: 'b' }))
  })

  test('the tag state does not split what has no include-tag', () => {
    expect(keyOf(plain, { tagState: 'a' })).toBe(keyOf(plain, { tagState: 'b' }))
  })
})
