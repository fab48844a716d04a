/**
 * Real git on both forms: what a client wrote, and what we feed upload-pack instead. And on the bodies
 * of two clients whose requests have one key: the second gets what was made for the first.
 */
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { writeCanonicalRequest } from '../../njs/src/git/canonical.ts'
import type { FetchRequest } from '../../njs/src/git/fetch-request.ts'
import { pktLine, readPkts } from '../../njs/src/git/pkt-line.ts'
import { anyNoise, clientForm, type Noise } from '../support/arbitraries.ts'
import { PATIENCE, runsWithGit } from '../support/fuzz.ts'
import { git, makeRepository, scratch, uploadPack } from '../support/git.ts'
import { anyMutations, mutated } from '../support/mutations.ts'
import { objectsIn, readAnswer } from '../support/pack.ts'
import { keyOf } from '../support/scope.ts'
import { fetchOf, oid, parse } from '../support/wire.ts'

const work = scratch()
const dir = `${work.dir}/upstream.git`
const target = `${work.dir}/target.git`
afterAll(work.remove)
beforeAll(() => {
  makeRepository(dir)
  git(['init', '--bare', '--quiet', target])
})

/** Commits and tags that a client can want, in the order of git's own listing. */
function tips(): string[] {
  const commits = git(['--git-dir', dir, 'rev-list', '--all']).split('\n')
  const tags = git(['--git-dir', dir, 'for-each-ref', '--format=%(objectname)', 'refs/tags'])
  return [...commits, ...tags.split('\n')]
}

/**
 * With a boundary, git itself sends more or less of what the client has anyway, by the order of the
 * haves: do_got_oid of upload-pack.c forgets a have that is the parent of one before it.
 */
function orderless(request: FetchRequest): FetchRequest {
  const bounded = request.deepen !== null || request.shallows.length > 0
  return bounded ? { ...request, haves: request.haves.slice(0, 1) } : request
}

function anyKnownRequest(family: 0 | 2): fc.Arbitrary<FetchRequest> {
  const known = fc.constantFrom(...tips())
  const some = fc.array(known, { maxLength: 3 })
  const unknown = fc.array(fc.constantFrom(oid(13), oid(14)), { maxLength: 1 })
  const named = fc.tuple(some, unknown).map(([a, b]) => [...a, ...b])
  const filters = ['blob:none', 'tree:0', 'tree:1', 'blob:limit=30', 'combine:tree:2+blob:none']
  const deepens = ['deepen 1', 'deepen 3', 'deepen 2147483647', 'deepen-since 1700500000']
  const request = fc.record({
    family: fc.constant(family),
    format: fc.constant('sha1'),
    wants: fc.array(known, { minLength: 1, maxLength: 4 }),
    haves: family === 2 ? named : fc.constant<string[]>([]),
    shallows: fc.oneof(fc.constant<string[]>([]), named),
    deepen: fc.option(fc.constantFrom(...deepens)),
    filter: fc.option(fc.constantFrom(...filters)),
    done: family === 2 ? fc.boolean() : fc.constant(true),
    ofsDelta: fc.boolean(),
    thinPack: fc.boolean(),
    includeTag: fc.boolean(),
    noProgress: fc.boolean(),
  })
  return request.map(orderless)
}

function protocolOf(family: 0 | 2): string {
  return family === 2 ? 'version=2' : ''
}

function answerTo(family: 0 | 2, body: string | Buffer) {
  const { lines, pack } = readAnswer(uploadPack(dir, family, body))
  return { lines, objects: pack === null ? null : objectsIn(pack, target, `${dir}/objects`) }
}

test.each([2, 0] as const)(
  'v%i: the same objects, boundary and acknowledgments',
  (family) => {
    let packs = 0
    fc.assert(
      fc.property(anyKnownRequest(family), anyNoise, (request, noise) => {
        const quiet = { ...noise, session: null }
        const body = clientForm(request, quiet)
        const canonical = writeCanonicalRequest(fetchOf(body, protocolOf(family)))
        const answer = answerTo(family, canonical)
        packs += answer.objects === null ? 0 : 1
        expect(answer).toEqual(answerTo(family, body))
      }),
      runsWithGit()
    )
    expect(packs).toBeGreaterThan(0)
  },
  PATIENCE
)

/** Packets that may stand anywhere in a request that git takes. */
const ODD = [
  ...['0000', '0001', '0002', '0004', pktLine('done'), pktLine('done\n'), pktLine('wait-for-done')],
  ...[pktLine('deepen 1'), pktLine('deepen 2\n'), pktLine('filter tree:0'), pktLine('ofs-delta')],
  ...[pktLine('include-tag'), pktLine('command=fetch'), pktLine('agent=x'), pktLine('\n')],
  ...[pktLine('object-format=sha1'), pktLine('thin-pack\n'), pktLine('no-progress\n')],
  ...[pktLine(`have ${oid(14)}`), pktLine(`shallow ${oid(14)}\n`), pktLine('deepen-since 1')],
]

/** Puts packets between the packets of a body. */
function insert(body: string, odd: [string, number][]): string {
  const starts: number[] = []
  let pos = 0
  for (const pkt of readPkts(body, Infinity, 'body') ?? []) {
    starts.push(pos)
    pos += typeof pkt === 'string' ? 4 + pkt.length : 4
  }
  starts.push(body.length)
  return odd.reduce((text, [packet, where]) => {
    const at = starts[where % starts.length] ?? 0
    return text.slice(0, at) + packet + text.slice(at)
  }, body)
}

/**
 * Of bodies that we take at all, and whose order of haves is nothing to git; another is drawn for any
 * other. Whether there was a pack to compare.
 */
function expectSame(family: 0 | 2, body: string): boolean {
  const parsed = parse(body, protocolOf(family))
  fc.pre(parsed.kind !== 'pass')
  const { request } = parsed
  fc.pre(orderless(request).haves.length === request.haves.length)
  const canonical = writeCanonicalRequest(request)
  const ours = answerTo(family, canonical)
  const theirs = answerTo(family, Buffer.from(body, 'latin1'))
  // What git refuses in either form is passed as it came; with which words is by the order of lines.
  if (!isRefusal(ours) || !isRefusal(theirs)) expect(ours).toEqual(theirs)
  return ours.objects !== null
}

function isRefusal({ lines, objects }: ReturnType<typeof answerTo>): boolean {
  return objects === null && (lines.length === 0 || lines.some((line) => line.startsWith('ERR ')))
}

test.each([2, 0] as const)(
  'v%i: what we take, git takes, and gives the same',
  (family) => {
    const odd = fc.array(fc.tuple(fc.constantFrom(...ODD), fc.nat()), {
      minLength: 1,
      maxLength: 2,
    })
    let packs = 0
    fc.assert(
      fc.property(anyKnownRequest(family), anyNoise, odd, (request, noise, packets) => {
        const body = insert(clientForm(request, { ...noise, session: null }), packets)
        packs += expectSame(family, body) ? 1 : 0
      }),
      runsWithGit()
    )
    expect(packs).toBeGreaterThan(0)
  },
  PATIENCE
)

test.each([2, 0] as const)(
  'v%i: what we still take of a damaged request, git takes, and gives the same',
  (family) => {
    let packs = 0
    fc.assert(
      fc.property(anyKnownRequest(family), anyNoise, anyMutations, (request, noise, mutations) => {
        const body = clientForm(request, { ...noise, session: null })
        const damaged = mutated(Buffer.from(body), mutations).toString('latin1')
        packs += expectSame(family, damaged) ? 1 : 0
      }),
      runsWithGit()
    )
    expect(packs).toBeGreaterThan(0)
  },
  PATIENCE
)

/** A request and one that is like it: some of what differs is no difference, the key decides. */
function anyTwins(family: 0 | 2): fc.Arbitrary<[FetchRequest, FetchRequest]> {
  const change = fc.record(
    {
      thinPack: fc.boolean(),
      noProgress: fc.boolean(),
      ofsDelta: fc.boolean(),
      includeTag: fc.boolean(),
    },
    { requiredKeys: [] }
  )
  return fc
    .tuple(anyKnownRequest(family), change)
    .map(([request, changes]) => [request, { ...request, ...changes }])
}

test.each([2, 0] as const)(
  'v%i: two requests of one key have one answer',
  (family) => {
    let pairs = 0
    fc.assert(
      fc.property(anyTwins(family), anyNoise, anyNoise, (twins, ...noises) => {
        const bodies = twins.map((request, i) =>
          clientForm(request, { ...(noises[i] as Noise), session: null })
        )
        const [one, other] = bodies.map((body) => keyOf(fetchOf(body, protocolOf(family))))
        if (one !== other) return
        pairs += 1
        const [first, second] = bodies.map((body) => answerTo(family, body))
        expect(second).toEqual(first)
      }),
      runsWithGit()
    )
    expect(pairs).toBeGreaterThan(0)
  },
  PATIENCE
)
