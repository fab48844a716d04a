/**
 * Keeps packs, mirrors and temporary files within a number of bytes. The files are the truth: what
 * is known of them is read from the directory at start, and nginx's reports say what is used.
 * Most answers are never read twice, so those that were not go first, the oldest of them; then what
 * was not used for longest, answers and mirrors alike. After S3-FIFO (Yang et al., SOSP 2023).
 */
import { readdir, rm, stat, statfs } from 'node:fs/promises'
import path from 'node:path'
import type { Logger } from 'pino'
import type { MirrorSize, Mirrors } from './mirrors.ts'
import { type Layout, sizeOf } from './store.ts'

/** Of the file system, where no size is given; and what stays free of it in any case. */
const SHARE = 0.5
const FLOOR = 0.05
const PERIOD = 60_000

interface Stored {
  bytes: number
  /** Milliseconds since the epoch. */
  used: number
  again: boolean
}

export interface Budget {
  /** An answer was stored. */
  stored(key: string, bytes: number): void
  /** An answer was served from its file. */
  used(key: string): void
  /** Removes what is too much; resolves when that is done. */
  enforce(): Promise<void>
  stop(): void
}

export interface BudgetParts {
  dirs: Layout
  mirrors: Mirrors
  log: Logger
  /** Bytes; null: a share of the file system. */
  limit: number | null
}

export function openBudget({ dirs, mirrors, log, limit }: BudgetParts): Budget {
  const packs = new Map<string, Stored>()
  /** As they were at the last look: to walk through all of them for each answer would cost too much. */
  let measured = { mirrors: [] as MirrorSize[], tmp: 0 }
  let running: Promise<void> | null = null

  const file = (key: string) => path.join(dirs.packs, key.slice(0, 2), key)

  async function scan(): Promise<void> {
    for (const entry of await readdir(dirs.packs, { recursive: true, withFileTypes: true })) {
      const info = entry.isFile() ? await stat(file(entry.name)).catch(() => null) : null
      if (info === null || packs.has(entry.name)) continue
      // Its access time may stand still (noatime); when it was made is known in any case.
      packs.set(entry.name, { bytes: info.size, used: info.mtimeMs, again: false })
    }
  }

  async function measure(): Promise<void> {
    measured = { mirrors: await mirrors.sizes(), tmp: await sizeOf(dirs.tmp) }
  }

  /** Bytes that are too many. */
  async function excess(): Promise<number> {
    const { bsize, blocks, bavail } = await statfs(dirs.packs)
    const allowed = limit ?? bsize * blocks * SHARE
    const kept = [...packs.values()].reduce((sum, pack) => sum + pack.bytes, 0)
    const sizes = measured.mirrors.reduce((sum, mirror) => sum + mirror.bytes, 0)
    const over = kept + sizes + measured.tmp - allowed
    return Math.max(over, bsize * blocks * FLOOR - bsize * bavail)
  }

  async function trim(): Promise<void> {
    let tooMuch = await excess()
    if (tooMuch <= 0) {
      return
    }
    const before = tooMuch
    const byUse = [...packs].sort(([, a], [, b]) => a.used - b.used)
    for (const [key, pack] of byUse.filter(([, { again }]) => !again)) {
      if (tooMuch <= 0) break
      tooMuch -= await drop(key, pack)
    }
    const rest: { used: number; drop: () => Promise<number> }[] = [
      ...byUse
        .filter(([, { again }]) => again)
        .map(([key, pack]) => ({ used: pack.used, drop: () => drop(key, pack) })),
      ...measured.mirrors.map((mirror) => ({
        used: mirror.used,
        drop: () => dropMirror(mirror),
      })),
    ]
    for (const one of rest.sort((a, b) => a.used - b.used)) {
      if (tooMuch <= 0) break
      tooMuch -= await one.drop()
    }
    log.info({ bytes: before - tooMuch }, 'evicted')
  }

  async function drop(key: string, pack: Stored): Promise<number> {
    packs.delete(key)
    await rm(file(key), { force: true })
    return pack.bytes
  }

  async function dropMirror(mirror: MirrorSize): Promise<number> {
    if (!(await mirrors.remove(mirror.dir))) {
      return 0
    }
    measured.mirrors = measured.mirrors.filter((one) => one !== mirror)
    return mirror.bytes
  }

  /** One at a time; who comes meanwhile waits for that one. */
  function once(work: () => Promise<void>): Promise<void> {
    running ??= work()
      .catch((error: unknown) => log.error({ code: 'GITCACHE_EVICT', error: String(error) }))
      .finally(() => {
        running = null
      })
    return running
  }

  const ready = scan()
    .then(measure)
    .catch(() => {})
  const enforce = () => ready.then(() => once(() => measure().then(trim)))
  const timer = setInterval(enforce, PERIOD)
  timer.unref()

  return {
    stored: (key, bytes) => {
      packs.set(key, { bytes, used: Date.now(), again: false })
      ready.then(() => once(trim))
    },
    used: (key) => {
      const pack = packs.get(key)
      if (pack !== undefined) Object.assign(pack, { used: Date.now(), again: true })
    },
    enforce,
    stop: () => clearInterval(timer),
  }
}
