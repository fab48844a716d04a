/** All mirrors of this data directory: who uses them, who takes them away. */
import { utimes } from 'node:fs/promises'
import path from 'node:path'
import type { LimitFunction } from 'p-limit'
import type { Logger } from 'pino'
import type { FetchRequest } from '../../njs/src/git/fetch-request.ts'
import { type Faults, ofRepository } from './faults.ts'
import {
  type FetchEvents,
  type FetchState,
  isShallow,
  newFetchState,
  openFetchQueue,
} from './fetch-queue.ts'
import { openFetches } from './fetches.ts'
import type { GitLimit } from './git-limit.ts'
import type { Layout } from './layout.ts'
import {
  type MakingState,
  newMakingState,
  openMakings,
  type Seed,
  type WhenToMake,
} from './makings.ts'
import type { Metrics } from './metrics.ts'
import { exists, type FetchSource, improve, type MirrorName, NAME_FILE } from './mirror.ts'
import { removeLeftBehind } from './mirror-check.ts'
import { mirrorsOf, nameOf, placeOf } from './mirror-places.ts'
import { type MirrorSize, openMirrorSizes } from './mirror-sizes.ts'
import { killGroupsIn } from './process-groups.ts'
import { Pass } from './protocol.ts'
import { openSoundness } from './soundness.ts'

interface Entry extends MakingState {
  /** How many read it now, and when the last began. */
  users: number
  used: number
  /** When its use was last written down. */
  noted: number
  /** What killed gits left in it is being removed: nobody may write there. */
  cleaning: Promise<void> | null
}

export interface Mirrors {
  /** The directory of a mirror, or null. Throws Pass where there cannot be one. */
  find(name: MirrorName): Promise<string | null>
  /** The mirror that is in the making; null where none is. */
  making(name: MirrorName): Promise<unknown> | null
  /** Brings in what the request and the tag state name and the mirror lacks. Throws Pass or Overloaded. */
  bringIn(
    name: MirrorName,
    source: FetchSource,
    request: FetchRequest,
    tags: string[]
  ): Promise<void>
  /** Runs `ask` where upstream's own answer is quicker than bringing in what the mirror lacks; false where not. */
  straight(
    name: MirrorName,
    source: FetchSource,
    request: FetchRequest,
    ask: () => Promise<unknown>
  ): Promise<boolean>
  /** Makes the mirror of a clone that is about to come. Null where one is in the making already. */
  adopt(name: MirrorName, source: FetchSource): Seed | null
  /** Upstream had to answer this key: makes a mirror where the policy says that it pays. */
  missed(name: MirrorName, source: FetchSource, key: string): void
  /** Upstream is itself shallow. */
  setShallow(name: MirrorName): void
  /** git failed on it as on a damaged one: it is looked at before it is used again. */
  suspect(name: MirrorName): void
  /** The mirror is not removed while the work runs. */
  using<T>(name: MirrorName, work: () => Promise<T>): Promise<T>
  /** All that are on disk, also of an earlier life. */
  sizes(): Promise<MirrorSize[]>
  /** False where it is in use, or was used since `usedBefore`, milliseconds since the epoch. */
  remove(dir: string, usedBefore?: number): Promise<boolean>
  /** The same for want of room: it is not made again for a while. */
  evict(dir: string): Promise<boolean>
  /** Removes all mirrors of a repository, in use, or in the making. Returns how many there were. */
  purge(repository: string): Promise<number>
  /** Upkeep of one, which is not removed while it lasts. */
  tend(dir: string, work: (name: MirrorName) => Promise<void>): Promise<void>
}

const HOUR = 3600 * 1000
/** A mirror for which there was no room would be fetched whole each minute. Milliseconds. */
const EVICTED_FOR = HOUR
/** Repositories that are remembered, so that memory does not grow with those ever asked for. */
const MAX_ENTRIES = 10_000

export interface MirrorParts {
  dirs: Layout
  limit: GitLimit
  idle: LimitFunction
  whenToMake: WhenToMake
  log: Logger
  faults: Faults
  metrics: Metrics
  /** Upstream's repository turns out to be shallow: what was stored of it may be less than it has later. */
  shallow(repository: string): void
}

function isIdle({ making, queued, fetching, refsTimer, users }: Entry): boolean {
  const awaited = making !== null || queued || fetching !== null || refsTimer !== null
  return !awaited && users === 0
}

function remembersNothing(entry: Entry): boolean {
  const { misses, notBefore, used } = entry
  return misses.size === 0 && !isShallow(entry) && notBefore === 0 && used === 0
}

export function openMirrors(parts: MirrorParts): Mirrors {
  const { dirs, limit, idle, whenToMake, log, faults, metrics } = parts
  const soundness = openSoundness(dirs, faults)
  const on: FetchEvents = {
    grown: improveSoon,
    // Its clients may be to blame, or upstream: no fault of the machine.
    ended: ({ name }, outcome, error) =>
      outcome === 'ok'
        ? log.debug({ ...ofRepository(name) }, 'fetched')
        : log.info({ ...ofRepository(name), outcome, error }, 'fetch failed'),
    broken: ({ name, dir }) => soundness.suspect(name, dir),
    shallow: setShallow,
  }
  const queue = openFetchQueue(limit, metrics, on)
  const fetches = openFetches(limit, queue, on)
  const makings = openMakings({
    dirs,
    whenToMake,
    measured: queue.measured,
    soundness,
    faults,
    made: improveSoon,
    shallow: setShallow,
  })
  /** By their directories; what was looked for last is last. */
  const entries = new Map<string, Entry>()
  const sizes = openMirrorSizes(dirs)

  function entryOf(name: MirrorName): Entry {
    const dir = placeOf(dirs, name)
    const fresh: Entry = {
      ...newMakingState(newFetchState(name, dir)),
      users: 0,
      used: 0,
      noted: 0,
      cleaning: null,
    }
    const entry = entries.get(dir) ?? fresh
    entries.delete(dir)
    entries.set(dir, entry)
    if (entries.size > MAX_ENTRIES) forgetOne(entry)
    return entry
  }

  /**
   * The oldest that nothing happens to; before it one that remembers nothing, as those are which only
   * clients asked for whom upstream refused.
   */
  function forgetOne(except: Entry): void {
    let oldest = ''
    for (const [dir, entry] of entries) {
      if (entry === except || !isIdle(entry)) continue
      if (oldest === '') oldest = dir
      if (remembersNothing(entry)) {
        entries.delete(dir)
        return
      }
    }
    entries.delete(oldest)
  }

  async function find(name: MirrorName): Promise<string | null> {
    const entry = entryOf(name)
    if (isShallow(entry)) {
      throw new Pass('shallow-upstream')
    }
    if (!(await exists(entry.dir))) {
      return null
    }
    return (await soundness.of(name, entry.dir)) ? entry.dir : null
  }

  function improveSoon({ name, dir }: FetchState): void {
    idle(() => held(entryOf(name), () => improve(dir))).catch(() => {})
  }

  function setShallow(state: FetchState): void {
    state.shallow = Date.now()
    // It has more than upstream gives.
    soundness.discard(state.dir).catch((error) => faults('GITCACHE_STORE', error))
    parts.shallow(state.name.repository)
  }

  async function using<T>(name: MirrorName, work: () => Promise<T>): Promise<T> {
    const entry = entryOf(name)
    noteUse(entry)
    return held(entry, async () => {
      await entry.cleaning
      return work()
    })
  }

  /** For the next life; once an hour is enough. */
  function noteUse(entry: Entry): void {
    const now = Date.now()
    if (now - entry.noted > HOUR) {
      entry.noted = now
      utimes(path.join(entry.dir, NAME_FILE), now / 1000, now / 1000).catch(() => {})
    }
    entry.used = now
  }

  async function held<T>(entry: Entry, work: () => Promise<T>): Promise<T> {
    entry.users += 1
    try {
      return await work()
    } finally {
      entry.users -= 1
    }
  }

  async function tend(dir: string, work: (name: MirrorName) => Promise<void>): Promise<void> {
    const name = await nameOf(dir)
    if (name === null || (await find(name).catch(() => null)) !== dir) {
      return
    }
    const entry = entryOf(name)
    if (entry.users === 0 && entry.fetching === null) await clean(entry)
    await held(entry, () => work(name))
  }

  /** Nobody begins to write there meanwhile. */
  async function clean(entry: Entry): Promise<void> {
    const cleaned = removeLeftBehind(entry.dir)
    // What goes wrong there is no trouble of those who wait.
    const cleaning = cleaned
      .catch(() => {})
      .finally(() => {
        entry.cleaning = null
        if (entry.fetching === cleaning) entry.fetching = null
      })
    entry.cleaning = cleaning
    entry.fetching = cleaning
    await cleaned
  }

  async function remove(dir: string, usedBefore = Number.POSITIVE_INFINITY): Promise<boolean> {
    const entry = entries.get(dir)
    if (entry && entry.used > usedBefore) {
      return false
    }
    if (entry && (entry.users > 0 || entry.making !== null || entry.fetching !== null)) {
      return false
    }
    await soundness.discard(dir)
    return true
  }

  async function evict(dir: string): Promise<boolean> {
    const removed = await remove(dir)
    const entry = entries.get(dir)
    if (removed && entry) {
      entry.misses.clear()
      entry.notBefore = Date.now() + EVICTED_FOR
    }
    return removed
  }

  async function purge(repository: string): Promise<number> {
    let ended = 0
    for (const entry of entries.values()) {
      if (entry.name.repository !== repository) continue
      entry.purges += 1
      entry.misses.clear()
      entry.shallow = 0
      if (entry.tmp === null) continue
      killGroupsIn(entry.tmp)
      ended += 1
    }
    const found = await mirrorsOf(dirs, repository)
    for (const dir of found) await soundness.discard(dir)
    return found.length + ended
  }

  return {
    find,
    using,
    sizes: () => sizes((dir) => entries.get(dir)?.used ?? 0),
    remove,
    evict,
    making: (name) => entryOf(name).making,
    bringIn: (name, source, request, tags) => fetches.bringIn(entryOf(name), source, request, tags),
    straight: (name, source, request, ask) => fetches.straight(entryOf(name), source, request, ask),
    adopt: (name, source) => makings.adopt(entryOf(name), source),
    missed: (name, source, key) => makings.missed(entryOf(name), source, key),
    setShallow: (name) => setShallow(entryOf(name)),
    suspect: (name) => soundness.suspect(name, entryOf(name).dir),
    purge,
    tend,
  }
}
