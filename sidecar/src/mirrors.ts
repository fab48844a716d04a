/** All mirrors of this data directory: who makes them, who uses them, who takes them away. */
import { createHash } from 'node:crypto'
import { mkdir, rm, stat, utimes } from 'node:fs/promises'
import path from 'node:path'
import type { LimitFunction } from 'p-limit'
import type { FetchRequest } from '../../njs/src/git/fetch-request.ts'
import type { Faults } from './faults.ts'
import { type FetchState, newFetchState, openFetches, turnOf } from './fetches.ts'
import type { GitLimit } from './git-limit.ts'
import { type Layout, sizeOf, temporaryName } from './layout.ts'
import type { Metrics } from './metrics.ts'
import {
  exists,
  type FetchOutcome,
  type FetchSource,
  finishMirror,
  improve,
  initMirror,
  isConnected,
  type MirrorName,
  NAME_FILE,
} from './mirror.ts'
import { isSound, removeLeftBehind } from './mirror-check.ts'
import { allMirrors, discardMirror, mirrorsOf, nameOf } from './mirror-places.ts'
import { Pass } from './protocol.ts'
import { withResolvers } from './resolvers.ts'

interface Entry extends FetchState {
  /** Made in the background, from upstream or from a clone that is on its way. */
  making: Promise<FetchOutcome> | null
  /** Milliseconds since the epoch before which a failed making is not tried again. */
  notBefore: number
  /** How often it was purged: what was on its way then is not kept. */
  purges: number
  /** Keys of answers that upstream had to give, and when: milliseconds since the epoch. */
  misses: Map<string, number>
  /** How many read it now, and when the last began. */
  users: number
  used: number
  /** When its use was last written down. */
  noted: number
  /** When it was last suspected of damage. */
  suspected: number
}

export interface MirrorSize {
  dir: string
  bytes: number
  /** Milliseconds since the epoch. */
  used: number
}

export type WhenToMake = 'always' | 'second-miss' | 'never'

/** To be called once, with the repository under tmp/ that the clone's objects are in, or null. */
export type Seed = (repository: string | null) => void

export interface Mirrors {
  /** The directory of a mirror, or null. Throws Pass where there cannot be one. */
  find(name: MirrorName): Promise<string | null>
  /** The mirror that is in the making; null where none is. */
  making(name: MirrorName): Promise<unknown> | null
  /** Brings in what the request names and the mirror lacks. Throws Pass or Overloaded. */
  bringIn(name: MirrorName, source: FetchSource, request: FetchRequest): Promise<void>
  /** Fetches refs once more, as for a tag object that is missing. */
  refresh(name: MirrorName, source: FetchSource): Promise<void>
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
  /** False where it is in use. */
  remove(dir: string): Promise<boolean>
  /** Removes all mirrors of a repository, in use or not. Returns how many there were. */
  purge(repository: string): Promise<number>
  /** Upkeep of one, which is not removed while it lasts. */
  tend(dir: string, work: (name: MirrorName) => Promise<void>): Promise<void>
}

const RETRY_AFTER = 5000
const HOUR = 3600 * 1000
const DAY = 24 * HOUR
const MAX_MISSES = 16
/** Repositories that are remembered, so that memory does not grow with those ever asked for. */
const MAX_ENTRIES = 10_000

export function openMirrors(
  dirs: Layout,
  limit: GitLimit,
  idle: LimitFunction,
  whenToMake: WhenToMake,
  faults: Faults,
  metrics: Metrics
): Mirrors {
  const fetches = openFetches(limit, metrics, {
    grown: ({ name, dir }) => idle(() => held(entryOf(name), () => improve(dir))),
    broken: ({ name }) => suspect(name),
  })
  const entries = new Map<string, Entry>()
  /** Whether what an earlier life left is what git wrote: asked once for each mirror. */
  const sound = new Map<string, Promise<boolean>>()

  function entryOf(name: MirrorName): Entry {
    const id = createHash('sha256')
      .update([name.upstream, name.repository, name.format].join('\n'))
      .digest('hex')
    const dir = path.join(dirs.mirrors, id.slice(0, 2), `${id}.git`)
    const fresh: Entry = {
      ...newFetchState(name, dir),
      making: null,
      notBefore: 0,
      purges: 0,
      misses: new Map(),
      users: 0,
      used: 0,
      noted: 0,
      suspected: 0,
    }
    const entry = entries.get(id) ?? fresh
    // What was looked for last is last in the map.
    entries.delete(id)
    entries.set(id, entry)
    if (entries.size > MAX_ENTRIES) forgetOldest()
    return entry
  }

  /** Of those that nothing happens to: all that is lost is what they remember. */
  function forgetOldest(): void {
    for (const [id, { making, fetching, refsTimer, users }] of entries) {
      if (making === null && fetching === null && refsTimer === null && users === 0) {
        entries.delete(id)
        return
      }
    }
  }

  async function find(name: MirrorName): Promise<string | null> {
    const entry = entryOf(name)
    if (entry.shallow) {
      throw new Pass('shallow-upstream')
    }
    if (!(await exists(entry.dir))) {
      return null
    }
    const check = sound.get(entry.dir) ?? checked(entry)
    sound.set(entry.dir, check)
    try {
      return (await check) ? entry.dir : null
    } catch (error) {
      // The check itself went wrong, as without file descriptors: the next request tries again.
      sound.delete(entry.dir)
      throw new Pass('store', String(error))
    }
  }

  /** No git of an earlier life runs any more: git.ts has ended it. */
  async function checked(entry: Entry): Promise<boolean> {
    await removeLeftBehind(entry.dir)
    return keptIf(entry, await isSound(entry.dir, entry.name))
  }

  async function keptIf(entry: Entry, good: boolean): Promise<boolean> {
    if (!good) {
      faults('GITCACHE_MIRROR_DAMAGED', 'it does not hold what it should', {
        repo: entry.name.repository,
      })
      await discard(entry.dir)
    }
    return good
  }

  /** Not again soon: where it is found sound, git has another reason to fail, and this takes long. */
  function suspect(name: MirrorName): void {
    const entry = entryOf(name)
    if (Date.now() - entry.suspected < HOUR) return
    entry.suspected = Date.now()
    const check = idle(() => isSound(entry.dir, entry.name))
      .then(async (good) => good && (await isConnected(entry.dir)))
      .then((good) => keptIf(entry, good))
      // It cannot be told now, as without memory: it is used as before.
      .catch(() => true)
    sound.set(entry.dir, check)
  }

  /** `seed`: a repository under tmp/ to begin with. */
  async function make(entry: Entry, source: FetchSource, purges: number, seed: string | null) {
    const tmp = seed ?? temporaryName(dirs, 'mirror')
    // Who asks for it may have begun before the last making ended, or before a purge.
    if (purges !== entry.purges || (await exists(entry.dir))) {
      await rm(tmp, { recursive: true, force: true })
      return purges === entry.purges ? 'ok' : 'failed'
    }
    await mkdir(path.dirname(entry.dir), { recursive: true })
    if (seed === null && !(await initMirror(entry.name, tmp))) {
      return 'failed'
    }
    const outcome = await fetches.measured(tmp, entry.dir, () =>
      finishMirror(entry.name, source, tmp, entry.dir, seed !== null)
    )
    if (purges !== entry.purges) await discard(entry.dir)
    else if (outcome === 'ok') {
      entry.suspected = 0
      sound.set(entry.dir, Promise.resolve(true))
    }
    return outcome
  }

  function start(entry: Entry, work: () => Promise<FetchOutcome>): void {
    const making = work().catch((): FetchOutcome => 'failed')
    entry.making = making
    making.then((outcome) => {
      entry.making = null
      if (outcome === 'shallow') entry.shallow = true
      entry.notBefore = outcome === 'ok' ? 0 : Date.now() + RETRY_AFTER
      if (outcome === 'ok') idle(() => held(entry, () => improve(entry.dir)))
    })
  }

  function missed(name: MirrorName, source: FetchSource, key: string): void {
    const entry = entryOf(name)
    const now = Date.now()
    for (const [old, time] of entry.misses) if (now - time > DAY) entry.misses.delete(old)
    entry.misses.set(key, now)
    const keys = entry.misses.size
    if (keys > MAX_MISSES) entry.misses.delete(entry.misses.keys().next().value ?? '')
    const pays = whenToMake === 'always' || (whenToMake === 'second-miss' && keys > 1)
    if (pays && entry.making === null && now >= entry.notBefore) {
      const { purges } = entry
      start(entry, () => limit(turnOf(name), () => make(entry, source, purges, null)))
    }
  }

  function adopt(name: MirrorName, source: FetchSource): Seed | null {
    const entry = entryOf(name)
    if (entry.making !== null) {
      return null
    }
    const { purges } = entry
    const { promise, resolve } = withResolvers<string | null>()
    start(entry, async () => {
      const tmp = await promise
      return tmp === null ? 'failed' : make(entry, source, purges, tmp)
    })
    return resolve
  }

  async function using<T>(name: MirrorName, work: () => Promise<T>): Promise<T> {
    const entry = entryOf(name)
    noteUse(entry)
    return held(entry, work)
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
    if (entry.users === 0 && entry.fetching === null) await removeLeftBehind(dir)
    await held(entry, () => work(name))
  }

  function entryAt(dir: string): Entry | undefined {
    return entries.get(path.basename(dir, '.git'))
  }

  async function sizes(): Promise<MirrorSize[]> {
    const found: MirrorSize[] = []
    for (const dir of await allMirrors(dirs)) {
      const noted = await stat(path.join(dir, NAME_FILE)).catch(() => null)
      const made = noted ?? (await stat(dir).catch(() => null))
      const used = Math.max(entryAt(dir)?.used ?? 0, made?.mtimeMs ?? 0)
      if (made !== null) found.push({ dir, bytes: await sizeOf(dir), used })
    }
    return found
  }

  async function remove(dir: string): Promise<boolean> {
    const entry = entryAt(dir)
    if (entry && (entry.users > 0 || entry.making !== null || entry.fetching !== null)) {
      return false
    }
    await discard(dir)
    return true
  }

  function discard(dir: string): Promise<void> {
    sound.delete(dir)
    return discardMirror(dirs, dir)
  }

  async function purge(repository: string): Promise<number> {
    for (const entry of entries.values()) {
      if (entry.name.repository !== repository) continue
      entry.purges += 1
      entry.misses.clear()
      entry.shallow = false
    }
    const found = await mirrorsOf(dirs, repository)
    for (const dir of found) await discard(dir)
    return found.length
  }

  return {
    find,
    using,
    sizes,
    remove,
    making: (name) => entryOf(name).making,
    bringIn: (name, source, request) => fetches.bringIn(entryOf(name), source, request),
    refresh: async (name, source) => {
      await fetches.shared(entryOf(name), source, [])
    },
    adopt,
    missed,
    setShallow: (name) => {
      entryOf(name).shallow = true
    },
    suspect,
    purge,
    tend,
  }
}
