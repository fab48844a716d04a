/** What is written reads back as what was meant; what a client adds changes no key, the rest does. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { needsThinPack, writeCanonicalRequest } from '../../njs/src/git/canonical.ts'
import { parseBody } from '../../njs/src/git/classify.ts'
import { emptyRequest, type FetchRequest } from '../../njs/src/git/fetch-request.ts'
import type { KeyScope } from '../../njs/src/git/key.ts'
import { sortedUnique } from '../../njs/src/git/oids.ts'
import { readPkts } from '../../njs/src/git/pkt-line.ts'
import {
  anyDeepen,
  anyFilter,
  anyNoise,
  anyOid,
  anyRequestAtAll,
  clientForm,
} from '../support/arbitraries.ts'
import { GOLDEN_SCOPE } from '../support/cases.ts'
import { runs } from '../support/fuzz.ts'
import { keyOf } from '../support/scope.ts'
import { fetchOf } from '../support/wire.ts'

function protocolOf(request: FetchRequest): string {
  return request.family === 2 ? 'version=2' : ''
}

/** What the canonical form keeps of a request. */
function canonical(request: FetchRequest): FetchRequest {
  return {
    ...request,
    wants: sortedUnique(request.wants),
    haves: request.filter === null ? sortedUnique(request.haves) : [...new Set(request.haves)],
    shallows: sortedUnique(request.shallows),
    thinPack: needsThinPack(request),
    noProgress: true,
  }
}

test('parse(write(x)) is x in canonical order', () => {
  fc.assert(
    fc.property(anyRequestAtAll, (request) => {
      const body = writeCanonicalRequest(request)
      expect(fetchOf(body, protocolOf(request))).toEqual(canonical(request))
    }),
    runs()
  )
})

test('the canonical form of a canonical form is itself', () => {
  fc.assert(
    fc.property(anyRequestAtAll, (request) => {
      const body = writeCanonicalRequest(request)
      expect(writeCanonicalRequest(fetchOf(body, protocolOf(request)))).toBe(body)
    }),
    runs()
  )
})

test("a client's own spelling is read as what was meant", () => {
  fc.assert(
    fc.property(anyRequestAtAll, anyNoise, (request, noise) => {
      const read = fetchOf(clientForm(request, noise), protocolOf(request))
      const sorted = (one: FetchRequest) => canonical({ ...one, haves: sortedUnique(one.haves) })
      expect(sorted(read)).toEqual(sorted(request))
    }),
    runs()
  )
})

test('order, duplicates, agent, session and progress leave one key and one canonical form', () => {
  fc.assert(
    fc.property(anyRequestAtAll, anyNoise, anyNoise, (given, one, other) => {
      const request = given.filter === null ? given : { ...given, haves: given.haves.slice(0, 1) }
      const [a, b] = [one, other].map((noise) =>
        fetchOf(clientForm(request, noise), protocolOf(request))
      ) as [FetchRequest, FetchRequest]
      expect(keyOf(a)).toBe(keyOf(b))
      expect(writeCanonicalRequest(a)).toBe(writeCanonicalRequest(b))
    }),
    runs()
  )
})

test('under a filter the order of haves shapes the answer, and its key', () => {
  const [a, b] = ['1', '2'].map((digit) => digit.repeat(40)) as [string, string]
  const asked = (haves: string[], filter: string | null) =>
    keyOf({ ...emptyRequest(2), wants: ['3'.repeat(40)], haves, filter })
  expect(asked([a, b], 'tree:0')).not.toBe(asked([b, a], 'tree:0'))
  expect(asked([a, b, a], 'tree:0')).toBe(asked([a, b], 'tree:0'))
  expect(asked([a, b], null)).toBe(asked([b, a], null))
})

interface Change {
  request?: Partial<FetchRequest>
  scope?: Partial<KeyScope>
}

/** One thing that is changed, and what it was before. */
function anyChange(request: FetchRequest): fc.Arbitrary<Change> {
  const fresh = anyOid(request.format)
  const path = fc.stringMatching(/^\/[a-z]{1,8}$/)
  const more = (field: 'wants' | 'haves' | 'shallows') =>
    fresh.map((oid) => ({ request: { [field]: [...request[field], oid] } }))
  const flip = (field: 'done' | 'ofsDelta' | 'includeTag') =>
    fc.constant({ request: { [field]: !request[field] } })
  // Of v0 only requests without haves and with done are taken.
  const ofV2 = request.family === 2 ? [more('haves'), flip('done')] : []
  const family = request.family === 2 ? 0 : 2
  return fc.oneof<fc.Arbitrary<Change>[]>(
    ...ofV2,
    more('wants'),
    more('shallows'),
    flip('ofsDelta'),
    flip('includeTag'),
    fc.option(anyDeepen).map((deepen) => ({ request: { deepen } })),
    fc.option(anyFilter).map((filter) => ({ request: { filter } })),
    fc.constant<Change>({ request: { family, haves: [], done: true } }),
    fc.constant<Change>({ request: { format: request.format === 'sha1' ? 'sha256' : 'sha1' } }),
    path.map((repository) => ({ scope: { repository } })),
    path.map((name) => ({ scope: { upstream: `http://forge${name}` } })),
    path.map((vhost) => ({ scope: { vhost } })),
    path.map((tagState) => ({
      scope: request.includeTag ? { tagState } : { repository: tagState },
    }))
  )
}

test('whatever shapes the answer gives another key', () => {
  const pair = anyRequestAtAll.chain((request) =>
    fc.tuple(fc.constant(request), anyChange(request))
  )
  fc.assert(
    fc.property(pair, ([request, change]) => {
      const other = { ...request, ...change.request }
      const same =
        JSON.stringify(canonical(other)) === JSON.stringify(canonical(request)) &&
        Object.keys(change.scope ?? {}).length === 0
      expect(keyOf(other, change.scope) === keyOf(request)).toBe(same)
    }),
    runs()
  )
})

test('two requests have one key exactly where they have one canonical form', () => {
  const oids = fc.subarray(
    ['1', '2', '3'].map((digit) => digit.repeat(40)),
    { minLength: 1 }
  )
  const few = fc.record({ wants: oids, haves: oids, shallows: oids, done: fc.boolean() })
  const request = (part: Partial<FetchRequest>) => ({ ...BASE, ...part })
  fc.assert(
    fc.property(few, few, (a, b) => {
      const one = writeCanonicalRequest(request(a)) === writeCanonicalRequest(request(b))
      expect(keyOf(request(a)) === keyOf(request(b))).toBe(one)
    }),
    runs()
  )
})

const BASE = fetchOf(
  '0012command=fetch\n00010032want 1111111111111111111111111111111111111111\n0000',
  'version=2'
)

test('the scope never runs into the request', () => {
  fc.assert(
    fc.property(
      fc.stringMatching(/^\/[a-z/]{1,12}$/),
      fc.stringMatching(/^\/[a-z/]{1,12}$/),
      (a, b) => {
        const joined = keyOf(BASE, { upstream: `${GOLDEN_SCOPE.upstream}${a}`, repository: b })
        const other = keyOf(BASE, { upstream: GOLDEN_SCOPE.upstream, repository: `${a}${b}` })
        expect(joined).not.toBe(other)
      }
    ),
    runs()
  )
})

test('a request is taken up to the limit of lines, and not beyond it', () => {
  fc.assert(
    fc.property(anyRequestAtAll, (request) => {
      const body = writeCanonicalRequest(request)
      const all = readPkts(body, Infinity, 'body')?.length ?? 0
      const kinds = [all, all - 1].map((limit) => {
        const parsed = parseBody(body, protocolOf(request), limit)
        return parsed.kind === 'pass' ? parsed.reason : parsed.kind
      })
      expect(kinds).toEqual(['fetch', 'too-many-lines'])
    }),
    runs()
  )
})
