/** The data directory: what lies where, and what of it a previous life may have left. */
import { randomBytes } from 'node:crypto'
import { readdir, rm, stat } from 'node:fs/promises'
import path from 'node:path'

export interface Layout {
  packs: string
  /** Answers of a machine that was started anew, until they have been looked at. */
  unchecked: string
  /** A file for each answer that git has not looked at yet. */
  unconfirmed: string
  mirrors: string
  tmp: string
  /** The sidecar's own: lock, process groups. (DATA/run is the supervisor's.) */
  sidecar: string
}

export function layout(data: string): Layout {
  return {
    packs: path.join(data, 'packs'),
    unchecked: path.join(data, 'unchecked'),
    unconfirmed: path.join(data, 'unconfirmed'),
    mirrors: path.join(data, 'mirrors'),
    tmp: path.join(data, 'tmp'),
    sidecar: path.join(data, 'sidecar'),
  }
}

/** Empties and does not remove: what holds DATA may belong to root. */
export async function emptyDirectory(dir: string): Promise<void> {
  for (const name of await readdir(dir)) {
    // What was just killed may still be writing there.
    await rm(path.join(dir, name), { recursive: true, force: true, maxRetries: 5 })
  }
}

/** Of this process: two that should both have the directory must not write to one file. */
const LIFE = randomBytes(4).toString('hex')
let serial = 0

/** A name under tmp/ that nothing else ever has. */
export function temporaryName(dirs: Layout, kind: string): string {
  serial += 1
  return path.join(dirs.tmp, `${kind}-${LIFE}-${serial}`)
}

/** What has such a name, if it is there. */
export async function discard(dir: string | null): Promise<void> {
  if (dir !== null) await rm(dir, { recursive: true, force: true })
}

/** Bytes of all files below; what goes away meanwhile does not count. */
export async function sizeOf(dir: string): Promise<number> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true }).catch(() => [])
  const files = entries.filter((entry) => entry.isFile())
  const sizes = await Promise.all(
    files.map(({ parentPath, name }) =>
      stat(path.join(parentPath, name)).then(
        ({ size }) => size,
        () => 0
      )
    )
  )
  return sizes.reduce((sum, size) => sum + size, 0)
}
