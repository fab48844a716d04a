/** Random requests for fast-check, as a client could mean them, and the noise it could add. */
import fc from 'fast-check'
import type { FetchRequest, ObjectFormat } from '../../njs/src/git/fetch-request.ts'
import { pktLine } from '../../njs/src/git/pkt-line.ts'
import { gitForm } from './git-form.ts'
import { DELIM, FLUSH } from './wire.ts'

export function anyOid(format: ObjectFormat): fc.Arbitrary<string> {
  const digits = format === 'sha1' ? 40 : 64
  const digit = fc.constantFrom(...'0123456789abcdef')
  return fc.array(digit, { minLength: digits, maxLength: digits }).map((list) => list.join(''))
}

const anySize = fc.integer({ min: 0, max: 999_999 })
const anySimpleFilter = fc.oneof(
  fc.constantFrom('blob:none', 'object:type=commit', 'object:type=blob'),
  anySize.map((n) => `tree:${n}`),
  anySize.map((n) => `blob:limit=${n}k`)
)
export const anyFilter = fc.oneof(
  anySimpleFilter,
  fc.array(anySimpleFilter, { minLength: 1, maxLength: 3 }).map((l) => `combine:${l.join('+')}`)
)
export const anyDeepen = fc.oneof(
  fc.integer({ min: 1, max: 2_147_483_647 }).map((n) => `deepen ${n}`),
  fc.integer({ min: 1, max: 2_147_483_647 }).map((n) => `deepen-since ${n}`)
)

/** Requests that are taken: v0 only without haves, and with done. */
export function anyRequest(family: 0 | 2, format: ObjectFormat): fc.Arbitrary<FetchRequest> {
  const oids = fc.array(anyOid(format), { maxLength: 4 })
  return fc.record({
    family: fc.constant(family),
    format: fc.constant(format),
    wants: fc.array(anyOid(format), { minLength: 1, maxLength: 5 }),
    haves: family === 2 ? oids : fc.constant<string[]>([]),
    shallows: oids,
    deepen: fc.option(anyDeepen),
    filter: fc.option(anyFilter),
    done: family === 2 ? fc.boolean() : fc.constant(true),
    ofsDelta: fc.boolean(),
    thinPack: fc.boolean(),
    includeTag: fc.boolean(),
    noProgress: fc.boolean(),
  })
}

export const anyRequestAtAll: fc.Arbitrary<FetchRequest> = fc
  .tuple(fc.constantFrom<0 | 2>(0, 2), fc.constantFrom<ObjectFormat>('sha1', 'sha256'))
  .chain(([family, format]) => anyRequest(family, format))

/** What a client may add without meaning something else. */
export interface Noise {
  /** Sorts the lines: as many numbers as there can be lines. */
  order: number[]
  duplicates: boolean
  agent: string | null
  session: string | null
  progress: boolean
  lineFeeds: boolean[]
  /** Capabilities of v0 that change no byte of an answer without haves. */
  legacy: string
}

export const anyNoise: fc.Arbitrary<Noise> = fc.record({
  order: fc.array(fc.integer(), { minLength: 64, maxLength: 64 }),
  duplicates: fc.boolean(),
  agent: fc.option(fc.stringMatching(/^[a-zA-Z0-9./-]{1,12}$/)),
  session: fc.option(fc.uuid()),
  progress: fc.boolean(),
  lineFeeds: fc.array(fc.boolean(), { minLength: 64, maxLength: 64 }),
  legacy: fc.constantFrom('', 'multi_ack', 'multi_ack_detailed no-done deepen-since deepen-not'),
})

function shuffled(lines: string[], noise: Noise): string[] {
  return lines
    .map((line, i) => ({ line, rank: noise.order[i % 64] ?? 0 }))
    .sort((a, b) => a.rank - b.rank)
    .map(({ line }) => line)
}

function written(lines: string[], noise: Noise): string {
  return lines.map((line, i) => pktLine(noise.lineFeeds[i % 64] ? `${line}\n` : line)).join('')
}

function flagsOf(request: FetchRequest, noise: Noise): string[] {
  return [
    request.ofsDelta ? 'ofs-delta' : '',
    request.thinPack ? 'thin-pack' : '',
    request.includeTag ? 'include-tag' : '',
    noise.progress ? 'no-progress' : '',
  ].filter((flag) => flag !== '')
}

function needsOf(request: FetchRequest, noise: Noise): string[] {
  const wants = noise.duplicates ? [...request.wants, ...request.wants] : request.wants
  const lines = [
    ...wants.map((oid) => `want ${oid}`),
    ...request.shallows.map((oid) => `shallow ${oid}`),
  ]
  if (request.deepen !== null) lines.push(request.deepen)
  if (request.filter !== null) lines.push(`filter ${request.filter}`)
  return lines
}

function capabilitiesOf(request: FetchRequest, noise: Noise): string[] {
  return [
    noise.agent === null ? '' : `agent=${noise.agent}`,
    noise.session === null ? '' : `session-id=${noise.session}`,
    request.format === 'sha256' ? 'object-format=sha256' : '',
  ].filter((capability) => capability !== '')
}

/** A client's own spelling of a request. */
export function clientForm(request: FetchRequest, noise: Noise): string {
  return request.family === 2 ? clientV2(request, noise) : clientV0(request, noise)
}

function clientV2(request: FetchRequest, noise: Noise): string {
  const haves = noise.duplicates ? [...request.haves, ...request.haves] : request.haves
  const args = [
    ...needsOf(request, noise),
    ...haves.map((oid) => `have ${oid}`),
    ...flagsOf(request, noise),
  ]
  if (request.done) args.push('done')
  const head = shuffled(['command=fetch', ...capabilitiesOf(request, noise)], noise)
  return written(head, noise) + DELIM + written(shuffled(args, noise), noise) + FLUSH
}

function clientV0(request: FetchRequest, noise: Noise): string {
  const filter = request.filter === null ? [] : ['filter']
  const capabilities = [
    'side-band-64k',
    ...filter,
    ...flagsOf(request, noise),
    ...capabilitiesOf(request, noise),
    ...noise.legacy.split(' '),
  ]
  const needs = shuffled(needsOf(request, noise), noise)
  const first = needs.findIndex((line) => line.startsWith('want '))
  const want = `${needs[first]} ${shuffled(capabilities, noise).join(' ')}`
  const rest = needs.filter((_, i) => i !== first)
  return written([want, ...rest], noise) + FLUSH + pktLine('done\n')
}

/** Agents that look like what may come behind them, too. */
const anyAgent = fc.option(
  fc.oneof(
    fc.stringMatching(/^[!-~]{0,20}$/),
    fc
      .array(
        fc.constantFrom('git/2.39.5', '0016object-format=sha1', '0001', '000dthin-pack', '0000'),
        { minLength: 1, maxLength: 4 }
      )
      .map((parts) => parts.join(''))
  )
)

/** A clone names the oid of HEAD twice. */
const copies = (oids: string[], twice: boolean) => (twice ? [...oids, ...oids] : oids)

/** As git itself writes a request, and the agent in it. */
export const anyGitForm = fc
  .record({
    request: anyRequest(2, 'sha1'),
    deepen: fc.option(fc.integer({ min: 1, max: 99 }).map((depth) => `deepen ${depth}`)),
    filter: fc.constantFrom(null, 'blob:none'),
    agent: anyAgent,
    twice: fc.boolean(),
  })
  .map(({ request, deepen, filter, agent, twice }) => ({
    agent: agent ?? '',
    form: gitForm(
      { ...request, wants: copies(request.wants, twice), deepen, filter },
      agent,
      twice
    ),
  }))
