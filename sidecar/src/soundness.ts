/** Which mirrors may be used: what an earlier life left is read once, what git stumbles over again. */
import pLimit from 'p-limit'
import { canAccess } from './can-access.ts'
import { type Faults, ofRepository } from './faults.ts'
import type { Layout } from './layout.ts'
import { isConnected, type MirrorName } from './mirror.ts'
import { isSound, removeLeftBehind } from './mirror-check.ts'
import { discardMirror } from './mirror-places.ts'
import { Pass } from './protocol.ts'

export interface Soundness {
  /** Whether the mirror in `dir` is what git wrote; it is discarded where not. Throws Pass. */
  of(name: MirrorName, dir: string): Promise<boolean>
  /** git failed on it as on a damaged one: it is looked at before it is used again. */
  suspect(name: MirrorName, dir: string): void
  /** It was just made. */
  trust(dir: string): void
  /** Takes it away, at once for all who look for it. */
  discard(dir: string): Promise<void>
}

const HOUR = 3600 * 1000

export function openSoundness(dirs: Layout, faults: Faults): Soundness {
  const known = new Map<string, Promise<boolean>>()
  /** Which are being looked at because git failed on them: one at a time, and nobody waits for it. */
  const doubted = new Set<string>()
  const turns = pLimit(1)
  /** When each was last suspected, until it is made anew: milliseconds since the epoch. */
  const suspected = new Map<string, number>()

  async function of(name: MirrorName, dir: string): Promise<boolean> {
    if (doubted.has(dir)) {
      throw new Pass('generate', 'git failed on the mirror, which is being checked')
    }
    const sound: Promise<boolean> =
      known.get(dir) ?? checked(name, dir, () => known.get(dir) === sound)
    known.set(dir, sound)
    try {
      return await sound
    } catch (error) {
      // The check itself went wrong, as without file descriptors: the next request tries again.
      if (known.get(dir) === sound) known.delete(dir)
      // It was taken away meanwhile.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
      throw new Pass('store', String(error))
    }
  }

  /**
   * No git of an earlier life runs any more: git.ts has ended it. `isMeant`: it was not taken away and
   * made anew meanwhile, of which this would say nothing.
   */
  async function checked(name: MirrorName, dir: string, isMeant: () => boolean): Promise<boolean> {
    await removeLeftBehind(dir)
    const good = await isSound(dir, name)
    return isMeant() ? keptIf(name, dir, good) : (known.get(dir) ?? false)
  }

  async function keptIf(name: MirrorName, dir: string, good: boolean): Promise<boolean> {
    // What was purged meanwhile was not damaged.
    if (!good && (await canAccess(dir))) {
      const why = 'it does not hold what it should'
      faults('GITCACHE_MIRROR_DAMAGED', why, ofRepository(name))
      await discard(dir)
    }
    return good
  }

  /** Not again soon: where it is found sound, git has another reason to fail, and this takes long. */
  function suspect(name: MirrorName, dir: string): void {
    if (Date.now() - (suspected.get(dir) ?? 0) < HOUR) return
    suspected.set(dir, Date.now())
    doubted.add(dir)
    const isGood = async () => (await isSound(dir, name)) && (await isConnected(dir))
    turns(async () => {
      const good = await isGood()
      // Or it has been purged meanwhile, or made anew.
      if (doubted.has(dir)) await keptIf(name, dir, good)
    })
      // It cannot be told now, as without memory: it is used as before.
      .catch(() => {})
      .finally(() => doubted.delete(dir))
  }

  function trust(dir: string): void {
    known.set(dir, Promise.resolve(true))
    suspected.delete(dir)
    doubted.delete(dir)
  }

  function discard(dir: string): Promise<void> {
    known.delete(dir)
    doubted.delete(dir)
    return discardMirror(dirs, dir)
  }

  return { of, suspect, trust, discard }
}
