/**
 * Keeps packs, mirrors and temporary files within a number of bytes. The files are the truth: what
 * is known of them is read from the directory at start, and nginx's reports say what is used.
 * Most answers are never read twice, so those that were not go first, but for the newest of them; then
 * what was not used for longest, answers and mirrors alike. After S3-FIFO (Yang et al., SOSP 2023).
 */
import { type StatsFs, statfsSync } from 'node:fs'
import { readdir, stat, statfs } from 'node:fs/promises'
import path from 'node:path'
import type { Logger } from 'pino'
import type { Faults } from './faults.ts'
import { type Layout, sizeOf } from './layout.ts'
import type { Metrics } from './metrics.ts'
import type { MirrorSize } from './mirror-sizes.ts'
import type { Mirrors } from './mirrors.ts'
import { readAnswerName, type Store, shardsOf } from './store.ts'

/** Of the file system, where no size is given; and what stays free of it in any case. */
const SHARE = 0.5
const FLOOR = 0.05
/**
 * Of the size that is allowed, what the newest answers have before they must have been read again: in a
 * cache that is full of others a new one would be gone before anyone could.
 */
const TRIAL = 0.1
/** Whom we have just told of an answer nginx sends it to, and a herd comes for a while. Milliseconds. */
const YOUNG = 30_000
/** An answer that is more than so much of what is allowed would take the place of all others. */
const LARGEST = 0.5
/** So much more than is too much goes at once: to put 100,000 answers in order takes 100 ms. */
const MORE = 0.01
/** All files are measured so often. Milliseconds. */
const MEASURE = 60_000
/**
 * And so often the disk is asked what is free: an answer on its way may be gigabytes. Not more often:
 * what was removed and is still being read frees nothing yet, and more would go in its place.
 */
const LOOK = 10_000

interface Stored {
  bytes: number
  /** Of its repository; empty where nothing says whose it is: purge could not find it, so it goes. */
  tag: string
  /** Milliseconds since the epoch. */
  used: number
  again: boolean
}

/** What can be removed. */
interface Candidate {
  /** Milliseconds since the epoch. */
  used: number
  /** Returns the bytes that are free then. */
  drop(): Promise<number>
}

function byUse(a: Candidate, b: Candidate): number {
  return a.used - b.used
}

/** The last of these, as many as have room. */
function newest<T extends { bytes: number }>(sorted: T[], room: number): Set<T> {
  const found = new Set<T>()
  let left = room
  for (const one of [...sorted].reverse()) {
    left -= one.bytes
    if (left < 0) break
    found.add(one)
  }
  return found
}

export interface Budget {
  /** An answer was stored. */
  stored(key: string, bytes: number, tag: string): void
  /** An answer is gone, by a purge or because it was damaged. */
  removed(key: string): void
  /** An answer was served from its file. */
  used(key: string): void
  /** Removes what is too much, as last measured; resolves when that is done. */
  enforce(): Promise<void>
  /** Bytes as last measured. */
  sizes(): { packs: number; mirrors: number; mirrorCount: number; limit: number }
  stop(): void
}

export interface BudgetParts {
  dirs: Layout
  store: Store
  mirrors: Mirrors
  log: Logger
  faults: Faults
  metrics: Metrics
  /** Bytes; null: a share of the file system. */
  limit: number | null
}

function shareOf({ bsize, blocks }: Pick<StatsFs, 'bsize' | 'blocks'>): number {
  return bsize * blocks * SHARE
}

export function openBudget(parts: BudgetParts): Budget {
  const { dirs, store, mirrors, log, faults, metrics, limit } = parts
  const packs = new Map<string, Stored>()
  /** As they were at the last look: to walk through all of them for each answer would cost too much. */
  let measured = { mirrors: [] as MirrorSize[], tmp: 0, at: 0 }
  let allowed = limit ?? shareOf(statfsSync(dirs.packs))
  const begun = Date.now()
  let running: Promise<void> | null = null
  store.largest = allowed * LARGEST
  store.onTooLarge = (repo, bytes) =>
    faults('GITCACHE_TOO_LARGE', new Error(`${bytes} bytes, of ${store.largest} at most`), { repo })

  async function scan(): Promise<void> {
    for (const shard of await shardsOf(dirs.packs)) {
      await scanShard(shard).catch((error: unknown) => faults('GITCACHE_EVICT', error))
    }
  }

  async function scanShard(shard: string): Promise<void> {
    const names = (await readdir(path.join(dirs.packs, shard))).map(readAnswerName)
    const tags = new Map(names.flatMap((name) => (name?.tag ? [[name.key, name.tag]] : [])))
    const keys = names.flatMap((name) => (name?.tag === '' ? [name.key] : []))
    await Promise.all(keys.map((key) => note(path.join(dirs.packs, shard, key), key, tags)))
    const orphans = [...tags].filter(([key]) => !packs.has(key))
    await Promise.all(orphans.map(([key, tag]) => removeOrphan(shard, key, tag)))
  }

  /** Of an earlier life. One that is being stored has its tag first. */
  async function removeOrphan(shard: string, key: string, tag: string): Promise<void> {
    const info = await stat(path.join(dirs.packs, shard, `${key}.${tag}`)).catch(() => null)
    if (info !== null && info.mtimeMs < begun) await store.remove(key, tag)
  }

  /** Its access time may stand still (noatime); when it was made is known in any case. */
  async function note(file: string, key: string, tags: Map<string, string>): Promise<void> {
    const info = await stat(file).catch(() => null)
    const tag = tags.get(key) ?? ''
    if (info === null || packs.has(key)) return
    if (tag === '' && info.mtimeMs < begun) await store.remove(key, tag)
    else packs.set(key, { bytes: info.size, used: info.mtimeMs, again: false, tag })
  }

  async function measure(): Promise<void> {
    const at = performance.now()
    measured = { mirrors: await mirrors.sizes(), tmp: await sizeOf(dirs.tmp), at }
  }

  async function look(): Promise<void> {
    if (performance.now() - measured.at > MEASURE) await measure()
    await trim()
  }

  /** Bytes that are too many. */
  async function excess(): Promise<number> {
    const size = await statfs(dirs.packs)
    const { bsize, blocks, bavail } = size
    allowed = limit ?? shareOf(size)
    store.largest = allowed * LARGEST
    const { packs: kept, mirrors: mirrored } = sizes()
    const over = kept + mirrored + measured.tmp - allowed
    return Math.max(over, bsize * blocks * FLOOR - bsize * bavail)
  }

  function sizes() {
    return {
      packs: [...packs.values()].reduce((sum, pack) => sum + pack.bytes, 0),
      mirrors: measured.mirrors.reduce((sum, mirror) => sum + mirror.bytes, 0),
      mirrorCount: measured.mirrors.length,
      limit: allowed,
    }
  }

  async function trim(): Promise<void> {
    let tooMuch = await excess()
    if (tooMuch <= 0) {
      return
    }
    tooMuch += (sizes().packs + sizes().mirrors) * MORE
    const before = tooMuch
    for (const one of inOrder()) {
      if (tooMuch <= 0) break
      tooMuch -= await one.drop()
    }
    if (tooMuch < before) log.info({ bytes: before - tooMuch }, 'evicted')
  }

  /** The first to go is the first: answers that had their time and were not read again; then what was not used for longest. */
  function inOrder(): Candidate[] {
    const answers = [...packs].map(([key, pack]) => ({
      key,
      ...pack,
      drop: () => drop(key, pack),
    }))
    const once = answers.filter(({ again }) => !again).sort(byUse)
    const trial = newest(once, allowed * TRIAL)
    const young = Date.now() - YOUNG
    const first = new Set(once.filter((one) => !trial.has(one) && one.used < young))
    const mirrored = measured.mirrors.map((one) => ({
      used: one.used,
      drop: () => dropMirror(one),
    }))
    const rest = answers.filter((one) => !first.has(one))
    return [...first, ...[...rest, ...mirrored].sort(byUse)]
  }

  /** What cannot be removed still counts. */
  async function drop(key: string, pack: Stored): Promise<number> {
    try {
      await store.remove(key, pack.tag)
    } catch (error) {
      faults('GITCACHE_EVICT', error)
      return 0
    }
    packs.delete(key)
    metrics.evicted('answer')
    return pack.bytes
  }

  async function dropMirror(mirror: MirrorSize): Promise<number> {
    const gone = await mirrors.evict(mirror.dir).catch((error: unknown) => {
      faults('GITCACHE_EVICT', error)
      return false
    })
    if (!gone) {
      return 0
    }
    metrics.evicted('mirror')
    measured.mirrors = measured.mirrors.filter((one) => one !== mirror)
    return mirror.bytes
  }

  /** One at a time; who comes meanwhile waits for that one. */
  function once(work: () => Promise<void>): Promise<void> {
    running ??= work()
      .catch((error: unknown) => faults('GITCACHE_EVICT', error))
      .finally(() => {
        running = null
      })
    return running
  }

  const ready = store.shown
    .then(scan)
    .then(measure)
    .catch((error: unknown) => faults('GITCACHE_EVICT', error))
  const enforce = () => ready.then(() => once(look))
  const timer = setInterval(enforce, LOOK)
  timer.unref()

  return {
    stored: (key, bytes, tag) => {
      packs.set(key, { bytes, used: Date.now(), again: false, tag })
      enforce()
    },
    removed: (key) => void packs.delete(key),
    used: (key) => {
      const pack = packs.get(key)
      if (pack !== undefined) Object.assign(pack, { used: Date.now(), again: true })
    },
    enforce,
    sizes,
    stop: () => clearInterval(timer),
  }
}
