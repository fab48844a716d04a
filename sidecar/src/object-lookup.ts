/**
 * Whether a small repository has objects, from its own files: starting git to ask takes 9 ms. Its pack
 * indexes are read whole. Source: gitformat-pack(5).
 */
import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { canAccess } from './can-access.ts'

/**
 * All of them. False as well where files cannot be read, or are written in a way that git alone reads.
 * Looked for twice: a repack takes away where they were when they are in the new pack.
 */
export async function hasObjects(dir: string, oids: string[]): Promise<boolean> {
  return (await areThere(dir, oids)) || areThere(dir, oids)
}

async function areThere(dir: string, oids: string[]): Promise<boolean> {
  const packs = path.join(dir, 'objects/pack')
  const names = await readdir(packs).catch((): string[] => [])
  const indexes = await Promise.all(
    names
      .filter((name) => name.endsWith('.idx'))
      .map((name) => readFile(path.join(packs, name)).catch(() => Buffer.alloc(0)))
  )
  for (const oid of oids) {
    const id = Buffer.from(oid, 'hex')
    if (!indexes.some((index) => isInIndex(index, id)) && !(await isLoose(dir, oid))) return false
  }
  return true
}

function isLoose(dir: string, oid: string): Promise<boolean> {
  return canAccess(path.join(dir, 'objects', oid.slice(0, 2), oid.slice(2)))
}

/** `\377tOc`, then the version. */
const VERSION_2 = Buffer.from('ff744f6300000002', 'hex')
/** How many objects have a first byte up to this one, for each: 4 bytes. */
const FANOUT = VERSION_2.length
const NAMES = FANOUT + 256 * 4

function isInIndex(index: Buffer, oid: Buffer): boolean {
  if (index.length < NAMES || !index.subarray(0, FANOUT).equals(VERSION_2)) {
    return false
  }
  const first = oid.readUInt8(0)
  const from = first === 0 ? 0 : index.readUInt32BE(FANOUT + (first - 1) * 4)
  const until = index.readUInt32BE(FANOUT + first * 4)
  const names = index.subarray(NAMES + from * oid.length, NAMES + until * oid.length)
  let at = names.indexOf(oid)
  while (at !== -1 && at % oid.length !== 0) at = names.indexOf(oid, at + 1)
  return at !== -1
}
