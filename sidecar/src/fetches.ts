/**
 * What mirrors lack, brought in: one fetch at a time a repository, shared by all who came before it
 * began.
 */
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type FetchRequest, isStorable } from '../../njs/src/git/fetch-request.ts'
import type { GitLimit } from './git-limit.ts'
import { sizeOf } from './layout.ts'
import type { Metrics } from './metrics.ts'
import {
  type Fetched,
  type FetchOutcome,
  type FetchSource,
  fetchByOid,
  fetchRefs,
  type MirrorName,
} from './mirror.ts'
import { type Lacking, lacking, present } from './mirror-objects.ts'
import { hasObjects } from './object-lookup.ts'
import { Overloaded, Pass } from './protocol.ts'

export interface FetchState {
  name: MirrorName
  dir: string
  /** Settles when the last fetch that was ordered has ended; null where none is under way. */
  fetching: Promise<unknown> | null
  /** That has not begun: who comes now shares it. */
  next: Promise<FetchOutcome> | null
  /** What the next fetch is to bring: object ids, and all refs where it is told so. */
  wanted: Set<string>
  refsWanted: boolean
  refsTimer: NodeJS.Timeout | null
  /** Upstream answers somebody itself. */
  asking: boolean
  /** When upstream's repository was last found shallow: milliseconds since the epoch. It may have its history some day. */
  shallow: number
  /** When upstream last said 429 or 5xx to a fetch: milliseconds since the epoch. */
  strained: number
  /** Fetches since its packs were put together. */
  grown: number
}

export function newFetchState(name: MirrorName, dir: string): FetchState {
  return {
    name,
    dir,
    fetching: null,
    next: null,
    wanted: new Set(),
    refsWanted: false,
    refsTimer: null,
    asking: false,
    shallow: 0,
    strained: 0,
    grown: 0,
  }
}

/** Milliseconds. */
const SHALLOW_FOR = 3600 * 1000

export function isShallow({ shallow }: FetchState): boolean {
  return Date.now() - shallow < SHALLOW_FOR
}

export interface Fetches {
  /** The fetch that begins after this call; without ids, of all refs. */
  shared(state: FetchState, source: FetchSource, oids: string[]): Promise<FetchOutcome>
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
  /** Counts a fetch, and says why it failed. A mirror in the making is elsewhere before. */
  measured(
    state: FetchState,
    before: string,
    after: string,
    fetch: () => Promise<Fetched>
  ): Promise<FetchOutcome>
}

/** Detail of a pass. */
export const A_TAG = 'a tag'
/** More objects than this by id at once: pass. A ref is kept for each. */
const MAX_BY_OID = 64
/** Up to so many are fetched by id first; with more, refs have most of them. */
const FEW = 4
/** Before the one retry of a 429 or 5xx. Milliseconds. */
const RETRY_OVERLOADED = 1000
/** So long after it said so it is not asked twice by one fetch. Milliseconds. */
const STRAINED_FOR = 10_000
/** Each brings a pack, in all of which git then looks for each object. */
const MANY_FETCHES = 16
/** One fetch of all refs for many by id. Milliseconds. */
const REFRESH_AFTER = 30_000

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

/** Who shares a turn in the queue for git. */
export function turnOf(name: MirrorName): string {
  return `${name.upstream}\n${name.repository}`
}

export interface FetchEvents {
  /** So many fetches have brought a pack each that they should be put together. */
  grown(state: FetchState): void
  /** A fetch has ended; where it failed, in git's words, or ''. */
  ended(state: FetchState, outcome: FetchOutcome, words: string): void
  /** git fetch found the mirror itself broken. */
  broken(state: FetchState): void
  /** Upstream's repository is shallow. */
  shallow(state: FetchState): void
}

export function openFetches(limit: GitLimit, metrics: Metrics, on: FetchEvents): Fetches {
  async function measured(
    state: FetchState,
    before: string,
    after: string,
    fetch: () => Promise<Fetched>
  ): Promise<FetchOutcome> {
    const begun = Date.now()
    const bytes = await sizeOf(path.join(before, 'objects/pack'))
    const { outcome, words } = await fetch()
    const more = (await sizeOf(path.join(after, 'objects/pack'))) - bytes
    metrics.fetched(outcome, Math.max(0, more), (Date.now() - begun) / 1000)
    on.ended(state, outcome, words)
    return outcome
  }

  /** The fetch that begins after this call, shared with all who wait for the same or something else. */
  function shared(state: FetchState, source: FetchSource, oids: string[]): Promise<FetchOutcome> {
    for (const oid of oids) state.wanted.add(oid)
    state.refsWanted = state.refsWanted || oids.length === 0
    state.next ??= startNext(state, source)
    return state.next
  }

  /** Begins when the one before has ended, and there is a place for it. */
  function startNext(state: FetchState, source: FetchSource): Promise<FetchOutcome> {
    const before = state.fetching ?? Promise.resolve()
    const run = before.then(() => inTurn(state, () => fetchWanted(state, source)))
    const ended = run
      .catch(() => {})
      .finally(() => {
        // There was no place for it.
        if (state.next === run) takeWanted(state)
        if (state.fetching === ended) state.fetching = null
      })
    state.fetching = ended
    return run
  }

  function inTurn<T>({ name }: FetchState, work: () => Promise<T>): Promise<T> {
    return limit.fetch(name.upstream, turnOf(name), work)
  }

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

  /** What all who have come so far wait for; who comes from now on waits for the next. */
  function takeWanted(state: FetchState): { oids: string[]; refs: boolean } {
    const { wanted, refsWanted } = state
    state.next = null
    state.wanted = new Set()
    state.refsWanted = false
    return { oids: [...wanted], refs: refsWanted || wanted.size > MAX_BY_OID }
  }

  /** By id what is wanted, which saves the round trip for the refs; those come behind it. */
  async function fetchWanted(state: FetchState, source: FetchSource): Promise<FetchOutcome> {
    const { oids, refs } = takeWanted(state)
    if (refs) {
      return counted(state, () => fetchRefs(state.dir, source))
    }
    const outcome = await byOid(state, source, oids)
    if (outcome === 'ok') refreshSoon(state, source)
    return outcome
  }

  function byOid(state: FetchState, source: FetchSource, oids: string[]): Promise<FetchOutcome> {
    return counted(state, () => fetchByOid(state.dir, source, oids))
  }

  async function counted(state: FetchState, fetch: () => Promise<Fetched>): Promise<FetchOutcome> {
    let outcome = await measured(state, state.dir, state.dir, fetch)
    if (outcome === 'overloaded' && Date.now() - state.strained > STRAINED_FOR) {
      await sleep(RETRY_OVERLOADED)
      outcome = await measured(state, state.dir, state.dir, fetch)
    }
    if (outcome === 'overloaded') state.strained = Date.now()
    state.grown += 1
    if (state.grown === MANY_FETCHES) {
      state.grown = 0
      on.grown(state)
    }
    if (outcome === 'broken') on.broken(state)
    return outcome
  }

  function refreshSoon(state: FetchState, source: FetchSource): void {
    state.refsTimer ??= setTimeout(() => {
      state.refsTimer = null
      shared(state, source, []).catch(() => {})
    }, REFRESH_AFTER)
    state.refsTimer.unref()
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
      throw new Pass('not-in-mirror', A_TAG)
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
    const outcome = await inTurn(state, () => byOid(state, source, oids))
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
    await inTurn(state, () => byOid(state, source, have))
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

  return { shared, bringIn, straight, measured }
}
