/**
 * Asks upstream whether this client may have this answer, and turns its yes into what is generated:
 * the request with the haves that upstream acknowledged, without the shallows that it has pruned.
 * Shared by njs (requests that it reads) and the sidecar (those too large for njs).
 */
import type { FetchRequest } from './fetch-request.ts'
import type { PktSource } from './pkt-line.ts'
import { type ProbeAnswer, readProbeAnswer, writeProbe } from './probe.ts'
import type { Reason } from './reasons.ts'
import { readAdvertisedTags, writeTagsRequest } from './tag-state.ts'

/**
 * What is asked of upstream with this client's headers. Each resolves to the body of a 200, whole and
 * inflated, or to null where it is over its bound, cannot be read, or is another answer; of `probe` the
 * status of any other answer is told, and 504 where none came. None rejects for what upstream says.
 */
export interface Upstream {
  /** POST git-upload-pack. The text is ASCII or it is no yes. */
  probe(body: string): Promise<string | number | null>
  /** POST git-upload-pack with ls-refs. */
  lsRefs(body: string): Promise<string | null>
  /** GET info/refs as the client would. */
  advertisement(): Promise<PktSource | null>
  /** An object id of this many hex digits that upstream cannot know, another for each client. */
  unknownOid(digits: number): string
  maxTags(): number
}

export type Verdict =
  /** `tags`: the text of the tag state; null without include-tag. */
  | { kind: 'yes'; request: FetchRequest; tags: string | null }
  /** Upstream knows none of the haves: what it has said to the probe is its answer to this round. */
  | { kind: 'nak' }
  | { kind: 'pass'; reason: Reason }

/** A yes that is older than this when the answer is ready is asked again. Milliseconds. */
export const MAX_YES_AGE = 30000
/** How often a probe is repeated without a shallow oid that upstream has pruned. */
const MAX_PRUNED = 3

export function authorize(request: FetchRequest, upstream: Upstream): Promise<Verdict> {
  return request.includeTag ? authorizeTags(request, upstream) : authorizeWants(request, upstream)
}

/** The tag state too, asked at the same time. */
async function authorizeTags(request: FetchRequest, upstream: Upstream): Promise<Verdict> {
  const asked = await Promise.all([authorizeWants(request, upstream), askTags(request, upstream)])
  const verdict = asked[0] as Verdict
  const tags = asked[1] as TagState
  if (verdict.kind !== 'yes') {
    return verdict
  }
  if (tags.kind === 'pass') {
    return tags
  }
  return { kind: 'yes', request: verdict.request, tags: tags.text }
}

async function authorizeWants(request: FetchRequest, upstream: Upstream): Promise<Verdict> {
  let asked = request
  for (let pruned = 0; pruned <= MAX_PRUNED; pruned++) {
    const unknown = upstream.unknownOid(request.format === 'sha1' ? 40 : 64)
    const body = await upstream.probe(writeProbe(asked, unknown))
    if (typeof body !== 'string') {
      return { kind: 'pass', reason: reasonOf(body) }
    }
    const answer = readProbeAnswer(asked, body)
    if (answer.kind === 'yes') {
      return acknowledge(asked, answer.acknowledged)
    }
    const retry = withoutPruned(asked, answer)
    if (retry === null) {
      return refusal(asked, body)
    }
    asked = retry
  }
  return { kind: 'pass', reason: 'refused' }
}

/**
 * 401, 403, 404, a redirect, a 200 that is not git's (null): in the same word as of a request that was
 * not probed (the sidecar's cold.ts), or the word would tell whom upstream refuses what the cache has.
 */
function reasonOf(status: number | null): Reason {
  if (status === 429) return 'overloaded'
  return status === null || status < 500 ? 'refused' : 'no-answer'
}

/** A server without wait-for-done dies on the line: an empty 200. */
function refusal(asked: FetchRequest, body: string): Verdict {
  const died = body === '' && asked.haves.length > 0
  return { kind: 'pass', reason: died ? 'haves-unprobed' : 'refused' }
}

/** Upstream ignores a shallow oid that it has pruned; so do the key and what is generated. */
function withoutPruned(asked: FetchRequest, answer: ProbeAnswer): FetchRequest | null {
  if (asked.family !== 2 || answer.kind !== 'not-our-ref') {
    return null
  }
  const oid = answer.oid
  if (asked.wants.includes(oid) || !asked.shallows.includes(oid)) {
    return null
  }
  return Object.assign({}, asked, { shallows: asked.shallows.filter((shallow) => shallow !== oid) })
}

function acknowledge(asked: FetchRequest, acknowledged: string[]): Verdict {
  // Without a have upload-pack sends a pack at once, where this client waits for acknowledgments.
  if (asked.haves.length > 0 && acknowledged.length === 0 && !asked.done) {
    return { kind: 'nak' }
  }
  const request =
    asked.haves.length === 0 ? asked : Object.assign({}, asked, { haves: acknowledged })
  return { kind: 'yes', request, tags: null }
}

type TagState = { kind: 'tags'; text: string } | { kind: 'pass'; reason: Reason }

/** The text of the tag state: what ls-refs says is one already, of an advertisement its tags are. */
export async function askTags(request: FetchRequest, upstream: Upstream): Promise<TagState> {
  if (request.family === 2) {
    const text = await upstream.lsRefs(writeTagsRequest(request.format))
    return text === null ? { kind: 'pass', reason: 'tag-state' } : { kind: 'tags', text }
  }
  const body = await upstream.advertisement()
  if (body === null) {
    return { kind: 'pass', reason: 'tag-state' }
  }
  const limits = { format: request.format, maxTags: upstream.maxTags() }
  const tags = readAdvertisedTags(body, limits)
  return tags.kind === 'pass' ? tags : { kind: 'tags', text: tags.lines.join('\n') }
}
