/**
 * What mirrors need now and then: few packs, bitmaps, no keep refs of long ago, nothing that upstream
 * force-pushed away long ago. One mirror at a time, at idle priority, beside fetches and readers.
 */
import { readdir, stat, utimes, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { LimitFunction } from 'p-limit'
import { type Faults, ofRepository } from './faults.ts'
import type { GitResult } from './git.ts'
import { deleteRefs, improve, keepRefsBefore, type MirrorName, prune } from './mirror.ts'
import type { MirrorSize } from './mirror-sizes.ts'
import type { Mirrors } from './mirrors.ts'
import type { Store } from './store.ts'

const HOUR = 3600 * 1000
const DAY = 24 * HOUR

/** From so many packs on they are put together. */
const MANY_PACKS = 8
/** What was fetched by id is kept so long, and what no ref reaches any more. Milliseconds. */
const KEEP_AGE = 14 * DAY
const PRUNE_AGE = '2.weeks.ago'
const PRUNE_PERIOD = 7 * DAY
/** Its time says when the mirror was last pruned. */
const PRUNED = 'gitcache-pruned'

export interface UpkeepParts {
  mirrors: Mirrors
  store: Store
  idle: LimitFunction
  faults: Faults
  /** Milliseconds without use after which a mirror goes. */
  keepMirrors: number
}

export interface Upkeep {
  /** Looks after all mirrors, once; `now`: milliseconds since the epoch. */
  run(now?: number): Promise<void>
  stop(): void
}

export function startUpkeep(parts: UpkeepParts): Upkeep {
  const { mirrors, idle, faults, keepMirrors } = parts

  async function look({ dir, used }: MirrorSize, now: number): Promise<void> {
    if (now - used > keepMirrors) {
      await mirrors.remove(dir, now - keepMirrors)
    } else {
      await idle(() => mirrors.tend(dir, (name) => tendOne(parts, dir, name, now)))
    }
  }

  /** One that cannot be tended is nobody else's trouble. */
  async function run(now = Date.now()): Promise<void> {
    const tell = (error: unknown) => faults('GITCACHE_UPKEEP', error)
    for (const mirror of await mirrors.sizes()) await look(mirror, now).catch(tell)
  }

  let running = false
  async function round(): Promise<void> {
    if (running) return
    running = true
    await run().catch((error: unknown) => faults('GITCACHE_UPKEEP', error))
    running = false
  }

  const timer = setInterval(round, HOUR)
  timer.unref()
  return { run, stop: () => clearInterval(timer) }
}

async function tendOne(
  parts: UpkeepParts,
  dir: string,
  name: MirrorName,
  now: number
): Promise<void> {
  const tell = ({ code, stderr }: GitResult) => {
    if (code !== 0) parts.faults('GITCACHE_UPKEEP', stderr.trim(), ofRepository(name))
  }
  const old = await keepRefsBefore(dir, now - KEEP_AGE)
  if (old.length > 0) tell(await deleteRefs(dir, old))
  const packs = await readdir(path.join(dir, 'objects/pack'))
  if (await isPruneDue(dir, now)) {
    // What lies there as cruft was unreachable a period ago: answers that held it go with it.
    if (packs.some((file) => file.endsWith('.mtimes'))) await parts.store.purge(name.repository)
    tell(await prune(dir, PRUNE_AGE))
    await utimes(path.join(dir, PRUNED), now / 1000, now / 1000)
  } else if (packs.filter((file) => file.endsWith('.pack')).length >= MANY_PACKS) {
    tell(await improve(dir))
  }
}

/** The first time counts from now. */
async function isPruneDue(dir: string, now: number): Promise<boolean> {
  const file = path.join(dir, PRUNED)
  const last = await stat(file).catch(() => null)
  if (last === null) await writeFile(file, '')
  return last !== null && now - last.mtimeMs > PRUNE_PERIOD
}
