/** Mirrors in the making: when it pays, from upstream or from a clone that is on its way; one at a time. */
import { mkdir, rm } from 'node:fs/promises'
import path from 'node:path'
import pLimit from 'p-limit'
import { type Faults, ofRepository } from './faults.ts'
import type { FetchQueue, FetchState } from './fetch-queue.ts'
import { type Layout, temporaryName } from './layout.ts'
import { exists, type FetchOutcome, type FetchSource, finishMirror, initMirror } from './mirror.ts'
import { withResolvers } from './resolvers.ts'
import type { Soundness } from './soundness.ts'

/** `abandoned`: the clone did not come, for which upstream may have had its reasons. */
type Made = FetchOutcome | 'abandoned'

export interface MakingState extends FetchState {
  /** Made in the background, from upstream or from a clone that is on its way. */
  making: Promise<Made> | null
  /** To be made from upstream when there is a place. */
  queued: boolean
  /** The repository under tmp/ that upstream sends it into. */
  tmp: string | null
  /** Milliseconds since the epoch before which a failed making is not tried again. */
  notBefore: number
  /** How many makings have failed since one did not. */
  failures: number
  /** How often it was purged: what was on its way then is not kept. */
  purges: number
  /** Keys of answers that upstream had to give, and when: milliseconds since the epoch. */
  misses: Map<string, number>
}

export function newMakingState(state: FetchState): MakingState {
  return {
    ...state,
    making: null,
    queued: false,
    tmp: null,
    notBefore: 0,
    failures: 0,
    purges: 0,
    misses: new Map(),
  }
}

export type WhenToMake = 'always' | 'second-miss' | 'never'

/** To be called once, with the repository under tmp/ that the clone's objects are in, or null. */
export type Seed = (repository: string | null) => void

export interface Makings {
  /** Makes the mirror of a clone that is about to come. Null where one is in the making already. */
  adopt(state: MakingState, source: FetchSource): Seed | null
  /** Upstream had to answer this key: makes a mirror where the policy says that it pays. */
  missed(state: MakingState, source: FetchSource, key: string): void
}

export interface MakingParts {
  dirs: Layout
  whenToMake: WhenToMake
  measured: FetchQueue['measured']
  soundness: Soundness
  faults: Faults
  /** A mirror is there that was not. */
  made(state: MakingState): void
  /** Upstream's repository is shallow. */
  shallow(state: MakingState): void
}

/** A making that failed is not tried again before, and after each that follows twice as long. Milliseconds. */
const REMAKE_AFTER = 5000
const REMAKE_AT_LAST = 3600 * 1000
/** Mirrors of clones that are finished at once: upstream is asked for their refs, and may be slow. */
const MAX_SEEDING = 8
/** Mirrors that upstream sends whole at once: nobody waits for them, and they take long. */
const MAX_FETCHING = 2
const DAY = 24 * 3600 * 1000
const MAX_MISSES = 16

/** Milliseconds. It may be for want of room, or memory: each time all of it is sent in vain. */
function patienceAfter(failures: number): number {
  return Math.min(REMAKE_AFTER * 2 ** (failures - 1), REMAKE_AT_LAST)
}

export function openMakings(parts: MakingParts): Makings {
  const { dirs, whenToMake, soundness } = parts
  const seeding = pLimit(MAX_SEEDING)
  const fetching = pLimit(MAX_FETCHING)

  /** `seed`: a repository under tmp/ to begin with. Nothing of it is left where it fails. */
  async function make(
    state: MakingState,
    source: FetchSource,
    purges: number,
    seed: string | null
  ): Promise<FetchOutcome> {
    const tmp = seed ?? temporaryName(dirs, 'mirror')
    state.tmp = tmp
    try {
      // Who asks for it may have begun before the last making ended, or before a purge.
      if (purges !== state.purges || (await exists(state.dir))) {
        return purges === state.purges ? 'ok' : 'failed'
      }
      await mkdir(path.dirname(state.dir), { recursive: true })
      if (seed === null && !(await initMirror(state.name.format, tmp))) {
        return 'failed'
      }
      const outcome = await parts.measured(state, tmp, state.dir, () =>
        finishMirror(state.name, source, tmp, state.dir, seed !== null)
      )
      if (purges !== state.purges) await soundness.discard(state.dir)
      else if (outcome === 'ok') soundness.trust(state.dir)
      return outcome
    } finally {
      state.tmp = null
      await rm(tmp, { recursive: true, force: true })
    }
  }

  function start(state: MakingState, work: () => Promise<Made>): Promise<void> {
    const making = work().catch((error: unknown): Made => {
      parts.faults('GITCACHE_STORE', error, ofRepository(state.name))
      return 'failed'
    })
    state.making = making
    return making.then((outcome) => {
      state.making = null
      if (outcome === 'shallow') parts.shallow(state)
      // Clients whom upstream refuses put nothing off.
      if (outcome === 'abandoned') return
      const now = Date.now()
      if (outcome === 'ok') {
        state.failures = 0
        state.notBefore = 0
        // Of several that fail at once, as of clones on a full disk, one counts.
      } else if (now >= state.notBefore) {
        state.failures += 1
        state.notBefore = now + patienceAfter(state.failures)
      }
      if (outcome === 'ok') parts.made(state)
    })
  }

  function missed(state: MakingState, source: FetchSource, key: string): void {
    const now = Date.now()
    for (const [old, time] of state.misses) if (now - time > DAY) state.misses.delete(old)
    state.misses.set(key, now)
    const keys = state.misses.size
    if (keys > MAX_MISSES) state.misses.delete(state.misses.keys().next().value ?? '')
    const pays = whenToMake === 'always' || (whenToMake === 'second-miss' && keys > 1)
    if (pays && !state.queued && state.making === null && now >= state.notBefore) {
      state.queued = true
      const { purges } = state
      fetching(async () => {
        state.queued = false
        // A clone that came meanwhile makes it.
        if (state.making === null) await start(state, () => make(state, source, purges, null))
      })
    }
  }

  function adopt(state: MakingState, source: FetchSource): Seed | null {
    if (state.making !== null) {
      return null
    }
    const { purges } = state
    const { promise, resolve } = withResolvers<string | null>()
    start(state, async () => {
      const tmp = await promise
      return tmp === null ? 'abandoned' : seeding(() => make(state, source, purges, tmp))
    })
    return resolve
  }

  return { adopt, missed }
}
