/** How large the mirrors are that are on disk, and when each was used: also those of an earlier life. */
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { LRUCache } from 'lru-cache'
import { type Layout, sizeOf } from './layout.ts'
import { NAME_FILE } from './mirror.ts'
import { allMirrors } from './mirror-places.ts'

export interface MirrorSize {
  dir: string
  bytes: number
  /** Milliseconds since the epoch. */
  used: number
}

/** Mirrors whose size is remembered. */
const MAX_COUNTED = 50_000

/** `usedAt`: when one was last used in this life, milliseconds since the epoch; 0 where it was not. */
export function openMirrorSizes(dirs: Layout) {
  /** Of directories, and when they were as they were counted. */
  const counted = new LRUCache<string, { stamp: string; bytes: number }>({ max: MAX_COUNTED })

  async function sizes(usedAt: (dir: string) => number): Promise<MirrorSize[]> {
    const found: MirrorSize[] = []
    for (const dir of await allMirrors(dirs)) {
      const noted = await stat(path.join(dir, NAME_FILE)).catch(() => null)
      const made = noted ?? (await stat(dir).catch(() => null))
      const used = Math.max(usedAt(dir), made?.mtimeMs ?? 0)
      if (made !== null) found.push({ dir, bytes: await bytesOf(dir), used })
    }
    return found
  }

  /** Ten thousand mirrors have a million files: they are counted again where packs or refs have come. */
  async function bytesOf(dir: string): Promise<number> {
    const places = [dir, path.join(dir, 'objects/pack')]
    const times = await Promise.all(
      places.map((place) =>
        stat(place).then(
          ({ mtimeMs }) => mtimeMs,
          () => 0
        )
      )
    )
    const stamp = times.join()
    const known = counted.get(dir)
    if (known?.stamp === stamp && !times.includes(0)) return known.bytes
    const bytes = await sizeOf(dir)
    counted.set(dir, { stamp, bytes })
    return bytes
  }

  return sizes
}
