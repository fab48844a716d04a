/**
 * Fetches into mirrors, one at a time a repository: who comes before one has begun shares it.
 * What is to be fetched is fetches.ts.
 */
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
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

/** Before the one retry of a 429 or 5xx. Milliseconds. */
const RETRY_OVERLOADED = 1000
/** So long after it said so it is not asked twice by one fetch. Milliseconds. */
const STRAINED_FOR = 10_000
/** Each brings a pack, in all of which git then looks for each object. */
const MANY_FETCHES = 16
/** One fetch of all refs for many by id. Milliseconds. */
const REFRESH_AFTER = 30_000

/** More objects than this by id at once: all refs instead, which have most of them. A ref is kept for each. */
export const MAX_BY_OID = 64

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

export interface FetchQueue {
  /** The fetch that begins after this call, shared with all who wait for the same or something else; without ids, of all refs. */
  shared(state: FetchState, source: FetchSource, oids: string[]): Promise<FetchOutcome>
  /** With this client's own credentials. */
  alone(state: FetchState, source: FetchSource, oids: string[]): Promise<FetchOutcome>
  /** All refs, a while later. */
  refreshSoon(state: FetchState, source: FetchSource): void
  /** Counts a fetch, and says how it ended. A mirror in the making is elsewhere before. */
  measured(
    state: FetchState,
    before: string,
    after: string,
    fetch: () => Promise<Fetched>
  ): Promise<FetchOutcome>
}

export function openFetchQueue(limit: GitLimit, metrics: Metrics, on: FetchEvents): FetchQueue {
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

  function alone(state: FetchState, source: FetchSource, oids: string[]): Promise<FetchOutcome> {
    return inTurn(state, () => byOid(state, source, oids))
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

  return { shared, alone, refreshSoon, measured }
}
