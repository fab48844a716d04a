/**
 * Whether a mirror is what git wrote: after a crash of the machine files may be short or wrong, and
 * git copies from a pack what it has not looked at. Each of git's large files ends with a checksum
 * of all before it: gitformat-pack(5), gitformat-commit-graph(5).
 */
import { createReadStream } from 'node:fs'
import { readdir, readFile, rm } from 'node:fs/promises'
import path from 'node:path'
import { type MirrorName, NAME_FILE, refsAreWhole } from './mirror.ts'
import { checksum } from './pack-check.ts'

const SEALED = /\.(pack|idx|rev|bitmap|mtimes|graph)$|\/multi-pack-index$|\/commit-graph$/
/** What a git that was killed leaves behind: locks, and halves of files. */
const LEFT_BEHIND = /\.lock$|\/tmp_[^/]*$|\/\.tmp-[^/]*$/
const PIECE = 1024 * 1024

async function filesOf(dir: string): Promise<string[]> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name))
}

/** MUST be called only while no git runs on it. */
export async function removeLeftBehind(dir: string): Promise<void> {
  for (const file of await filesOf(dir)) {
    if (LEFT_BEHIND.test(file)) await rm(file, { force: true })
  }
}

/** Throws where it cannot be told. */
export async function isSound(dir: string, name: MirrorName): Promise<boolean> {
  const written = await readFile(path.join(dir, NAME_FILE), 'utf8').catch(absent)
  if (written !== JSON.stringify(name)) {
    return false
  }
  for (const file of await filesOf(dir)) {
    if (SEALED.test(file) && !(await endsWithChecksum(file, name.format))) return false
  }
  return refsAreWhole(dir)
}

function absent(error: NodeJS.ErrnoException): string {
  if (error.code !== 'ENOENT') throw error
  return ''
}

/** Reads the whole file, a piece at a time, so that others get their turn. */
async function endsWithChecksum(file: string, format: MirrorName['format']): Promise<boolean> {
  const sum = checksum(format)
  for await (const piece of createReadStream(file, { highWaterMark: PIECE })) sum.push(piece)
  return sum.isRight()
}
