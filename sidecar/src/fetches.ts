/** What a mirror lacks, brought in for those who ask: by id or by all refs, in fetches that are shared. */
import path from 'node:path'
import { type FetchRequest, isStorable } from '../../njs/src/git/fetch-request.ts'
import {
  type FetchEvents,
  type FetchQueue,
  type FetchState,
  isShallow,
  MAX_BY_OID,
  turnOf,
} from './fetch-queue.ts'
import type { GitLimit } from './git-limit.ts'
import { sizeOf } from './layout.ts'
import type { FetchOutcome, FetchSource } from './mirror.ts'
import { type Lacking, lacking, present } from './mirror-objects.ts'
import { hasObjects } from './object-lookup.ts'
import { Overloaded, Pass } from './protocol.ts'

export interface Fetches {
  /** Brings in what the request and the tag state name and the mirror lacks. Throws Pass or Overloaded. */
  bringIn(
    state: FetchState,
    source: FetchSource,
    request: FetchRequest,
    tags: string[]
  ): Promise<void>
  /** Runs `ask` where upstream's own answer is quicker than bringing in what the mirror lacks; false where not. */
  straight(
    state: FetchState,
    source: FetchSource,
    request: FetchRequest,
    ask: () => Promise<unknown>
  ): Promise<boolean>
}

/** Up to so many are fetched by id first; with more, refs have most of them. */
const FEW = 4
/** Of a mirror up to this size a checkout is made by upstream as quickly as by us. Bytes. */
const SMALL = 8 * 1024 * 1024

/** What CI asks for when it has nothing yet. */
function isShallowClone(request: FetchRequest): boolean {
  const { deepen, haves, shallows } = request
  return deepen !== null && haves.length + shallows.length === 0 && isStorable(request)
}

/** A few commits, as CI checks them out. With a filter they may be blobs, which no ref should keep. */
function isQuickerById({ filter }: FetchRequest, { oids, contents }: Lacking): boolean {
  return filter === null && !contents && oids.length > 0 && oids.length <= FEW
}

/** What upstream cannot do now it can do for none of those who wait. Throws Overloaded. */
function refuseAll(outcome: FetchOutcome): void {
  if (outcome === 'overloaded') throw new Overloaded(503)
  if (outcome === 'silent') throw new Overloaded(504)
}

export function openFetches(
  limit: GitLimit,
  queue: FetchQueue,
  on: Pick<FetchEvents, 'shallow'>
): Fetches {
  const { shared, alone, refreshSoon } = queue

  /**
   * 429 or 5xx to another client's credentials is no word to this one: once more, and that is everyone's.
   * Throws Overloaded.
   */
  async function sharedTwice(
    state: FetchState,
    source: FetchSource,
    oids: string[]
  ): Promise<FetchOutcome> {
    const isOwn = state.next === null
    const first = await shared(state, source, oids)
    const outcome = first === 'overloaded' && !isOwn ? await shared(state, source, oids) : first
    refuseAll(outcome)
    return outcome
  }

  function look(state: FetchState, request: FetchRequest, tags: string[]): Promise<Lacking> {
    return limit.look(turnOf(state.name), () => lacking(state.dir, request, tags))
  }

  /**
   * Each attempt is for what is still missing: a few ids in a fetch that is shared; all refs; the ids
   * that no ref gives, in a shared fetch where that was not tried, and with this client's own credentials.
   */
  async function bringIn(
    state: FetchState,
    source: FetchSource,
    request: FetchRequest,
    tags: string[]
  ): Promise<void> {
    let lacks = await look(state, request, tags)
    const isById = isQuickerById(request, lacks)
    if (isById) {
      await sharedTwice(state, source, lacks.oids)
      lacks = await look(state, request, tags)
    }
    if (lacks.oids.length > 0 || lacks.contents || lacks.tags) {
      const outcome = await sharedTwice(state, source, [])
      if (outcome === 'shallow') on.shallow(state)
      lacks = await look(state, request, tags)
    }
    if (lacks.contents || lacks.oids.length > MAX_BY_OID || isShallow(state)) {
      throw new Pass(isShallow(state) ? 'shallow-upstream' : 'not-in-mirror')
    }
    if (lacks.tags) {
      throw new Pass('tag-state', 'upstream does not give a tag of it')
    }
    if (lacks.oids.length > 0 && !isById) {
      await sharedTwice(state, source, lacks.oids)
      lacks = await look(state, request, tags)
    }
    if (lacks.oids.length > 0) {
      lacks = await bringInByOid(state, source, request, lacks.oids)
    }
    if (lacks.haves) {
      await bringInHave(state, source, request.haves.slice(0, 1))
    }
  }

  async function bringInByOid(
    state: FetchState,
    source: FetchSource,
    request: FetchRequest,
    oids: string[]
  ): Promise<Lacking> {
    const outcome = await alone(state, source, oids)
    const lacks = await look(state, request, [])
    if (lacks.oids.length > 0 || lacks.contents) {
      throw new Pass(outcome === 'ok' ? 'not-in-mirror' : 'fetch-failed')
    }
    return lacks
  }

  async function bringInHave(
    state: FetchState,
    source: FetchSource,
    have: string[]
  ): Promise<void> {
    await alone(state, source, have)
    const known = await limit.look(turnOf(state.name), () => present(state.dir, have))
    if (known.length === 0) {
      throw new Pass('not-in-mirror')
    }
  }

  /**
   * A checkout of a new commit of a small repository: upstream's answer takes one round trip, a fetch
   * and an answer of ours three. One at a time: for more at once, one fetch serves all. The refs come behind.
   */
  async function straight(
    state: FetchState,
    source: FetchSource,
    request: FetchRequest,
    ask: () => Promise<unknown>
  ): Promise<boolean> {
    if (state.asking || state.fetching !== null || !isShallowClone(request)) {
      return false
    }
    state.asking = true
    try {
      if (
        (await sizeOf(path.join(state.dir, 'objects/pack'))) > SMALL ||
        (await hasObjects(state.dir, request.wants))
      ) {
        return false
      }
      await ask()
    } finally {
      state.asking = false
    }
    refreshSoon(state, source)
    return true
  }

  return { bringIn, straight }
}
