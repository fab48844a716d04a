/** What nginx orders, checked by the sidecar before it works. */
import { describe, expect, test } from 'vitest'
import { writeCanonicalRequest } from '../../njs/src/git/canonical.ts'
import { keyOf } from '../../njs/src/git/key.ts'
import { pktLine } from '../../njs/src/git/pkt-line.ts'
import type { Config } from '../../sidecar/src/config.ts'
import { leadOrder, prepareOrder } from '../../sidecar/src/protocol.ts'
import { leadersWork, readLeadOrder, readOrder } from '../../sidecar/src/work.ts'
import { sha256 } from '../support/scope.ts'
import { headOf } from '../support/sidecar.ts'
import { FLUSH, fetchOf, oid, pkts, V0, V2, v0, v2 } from '../support/wire.ts'

const upstream = { name: 'http://u', url: 'http://u' }
const config = { upstreams: [upstream], maxWait: 60, stallAfter: 120 } as unknown as Config
const two = fetchOf(v2([`want ${oid(1)}`, 'include-tag', 'done']), V2)
const zero = fetchOf(v0([`want ${oid(1)} side-band-64k include-tag`]), V0)
const path = '/a/b.git'

/** The lines of an order with this tag state, of three tags at most. */
function linesOf(
  tags: string,
  request = two,
  key = keyOf(sha256, request, tags, { upstream: 'http://u', vhost: '', path })
) {
  const { family } = request
  const text = writeCanonicalRequest(request)
  const head = { secret: '', upstream: 'http://u', vhost: '', path, id: '', client: '', maxTags: 3 }
  const order = { ...head, key, family, request: text, tags, progress: false }
  return leadersWork(readOrder(config, order, {})).tags
}

const state = (...lines: string[]) => pkts(lines) + FLUSH
const A = `${oid(1)} refs/tags/a`
const B = `${oid(2)} refs/tags/größe`
const bytes = (text: string) => Buffer.byteLength(text).toString(16).padStart(4, '0')

describe('an order for upstream alone', () => {
  const head = { ...headOf('http://u', path), progress: false }
  const plain = fetchOf(v2([`want ${oid(1)}`, 'done']), V2)
  const lead = { ...head, family: 2 as const, lead: writeCanonicalRequest(plain) }

  test('is no order for an authorised request, and the other way round', () => {
    const order = {
      ...lead,
      key: keyOf(sha256, plain, null, { upstream: 'http://u', vhost: '', path }),
    }
    expect(prepareOrder.safeParse({ ...order, maxTags: 3, tags: null }).success).toBe(false)
    expect(leadOrder.safeParse(order).success).toBe(false)
    expect(readLeadOrder(config, leadOrder.parse(lead), {})).toMatchObject({ probed: false })
  })

  test.each([
    ['haves', v2([`want ${oid(1)}`, `have ${oid(2)}`, 'done'])],
    ['shallows', v2([`want ${oid(1)}`, `shallow ${oid(2)}`, 'done'])],
    ['tags', v2([`want ${oid(1)}`, 'include-tag', 'done'])],
    ['no done', v2([`want ${oid(1)}`])],
  ])('with %s passes: it has to be probed', (_, body) => {
    const request = writeCanonicalRequest(fetchOf(body, V2))
    expect(() => readLeadOrder(config, { ...lead, lead: request }, {})).toThrow(
      expect.objectContaining({ reason: 'error' })
    )
  })
})

describe('the tag state', () => {
  test('of v2 is what ls-refs said', () => {
    expect(linesOf(state(A, `${A}2 peeled:${oid(3)}`))).toEqual([A, `${A}2 ${oid(3)}`])
    const line = `0000${B}\n`
    expect(linesOf(bytes(line) + line.slice(4) + FLUSH)).toEqual([B])
    expect(linesOf(FLUSH)).toEqual([])
  })

  test('of v0 is lines', () => {
    expect(linesOf(`${A}\n${B} ${oid(3)}`, zero)).toEqual([A, `${B} ${oid(3)}`])
    expect(linesOf('', zero)).toEqual([])
  })

  test.each([
    ['too many', state(...[1, 2, 3, 4].map((i) => A + i)), two, 'tags-limit'],
    ['a hostile name', state(`${oid(1)} refs/tags/../../config`), two, 'tag-name'],
    ['an error', pktLine('ERR no'), two, 'tag-state'],
    ['half of it', state(A).slice(0, 20), two, 'tag-state'],
    ['nothing', '', two, 'tag-state'],
    ['too many lines', [1, 2, 3, 4].map((i) => A + i).join('\n'), zero, 'tags-limit'],
    ['a hostile name in a line', `${oid(1)} refs/tags/a..b`, zero, 'tag-name'],
    ['a line more', `${A}\n`, zero, 'tag-state'],
  ])('%s passes', (_, tags, request, reason) => {
    expect(() => linesOf(tags, request)).toThrow(expect.objectContaining({ reason }))
  })

  test('of another key passes', () => {
    const key = keyOf(sha256, two, state(A), { upstream: 'http://u', vhost: '', path })
    expect(linesOf(state(A), two, key)).toEqual([A])
    const other = expect.objectContaining({ reason: 'error' })
    expect(() => linesOf(state(A, `${A}2`), two, key)).toThrow(other)
  })
})
