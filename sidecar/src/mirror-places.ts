/** Mirrors as they lie on disk, `mirrors/ab/<id>.git`: those of an earlier life too. */
import { hash } from 'node:crypto'
import { readdir, readFile, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { isForNow } from './faults.ts'
import { type Layout, temporaryName } from './layout.ts'
import { type MirrorName, NAME_FILE } from './mirror.ts'
import { killGroupsIn } from './process-groups.ts'

/** Where the mirror of a repository is, or will be. */
export function placeOf(dirs: Layout, name: MirrorName): string {
  const id = hash('sha256', [name.upstream, name.vhost, name.repository, name.format].join('\n'))
  return path.join(dirs.mirrors, id.slice(0, 2), `${id}.git`)
}

export async function allMirrors(dirs: Layout): Promise<string[]> {
  const found: string[] = []
  for (const shard of await readdir(dirs.mirrors)) {
    const names = await readdir(path.join(dirs.mirrors, shard)).catch(() => [])
    found.push(...names.map((name) => path.join(dirs.mirrors, shard, name)))
  }
  return found
}

/** Whose it is; null where that cannot be read. Throws where it cannot be read just now. */
export async function nameOf(dir: string): Promise<MirrorName | null> {
  try {
    return JSON.parse(await readFile(path.join(dir, NAME_FILE), 'utf8')) as MirrorName
  } catch (error) {
    if (isForNow(error)) throw error
    return null
  }
}

/** Of a repository's path on any upstream, in each object format. */
export async function mirrorsOf(dirs: Layout, repository: string): Promise<string[]> {
  const found: string[] = []
  // One after the other: there may be more of them than files that can be open.
  for (const dir of await allMirrors(dirs)) {
    if ((await nameOf(dir))?.repository === repository) found.push(dir)
  }
  return found
}

/** At once for all who look for it; who reads it already fails, and what works on it is ended. */
export async function discardMirror(dirs: Layout, dir: string): Promise<void> {
  killGroupsIn(dir)
  const aside = temporaryName(dirs, 'discarded')
  const moved = await rename(dir, aside).then(
    () => true,
    () => false
  )
  // What began while the disk was busy.
  killGroupsIn(dir)
  await rm(moved ? aside : dir, { recursive: true, force: true })
}
