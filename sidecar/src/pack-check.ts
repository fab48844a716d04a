/**
 * A pack checked as it comes, without git: its checksum, and whether wants and their tags are among its
 * first objects, as they are for a few commits. Of the objects behind these it says nothing: `git index-pack`
 * does, which inflates and hashes all of them. Source: gitformat-pack(5).
 */
import { createHash } from 'node:crypto'
import { type Inflate, inflateSync } from 'node:zlib'
import type { ObjectFormat } from '../../njs/src/git/fetch-request.ts'

/** `unsure`: the checksum is right, but not all wants are among the first objects. */
export type PackVerdict = 'sound' | 'damaged' | 'unsure'

/** What is looked through for wants: some hundred commits, 10 ms at most. Bytes. */
const BEGINNING = 64 * 1024

const CHECKSUM_LENGTH = { sha1: 20, sha256: 32 }

/** Throws what `pack` throws. */
export async function checkPack(
  pack: AsyncIterable<Buffer>,
  format: ObjectFormat,
  wants: string[]
): Promise<PackVerdict> {
  const sum = checksum(format)
  let beginning = Buffer.alloc(0)
  for await (const piece of pack) {
    sum.push(piece)
    const more = piece.subarray(0, BEGINNING - beginning.length)
    if (more.length > 0) beginning = Buffer.concat([beginning, more])
  }
  if (!sum.isRight()) {
    return 'damaged'
  }
  return holds(beginning, format, wants) ? 'sound' : 'unsure'
}

/** Whether the end of a file of git (a pack, an index, a commit-graph) is the checksum of all before it. */
export function checksum(format: ObjectFormat) {
  const length = CHECKSUM_LENGTH[format]
  const hash = createHash(format)
  let last: Buffer = Buffer.alloc(0)
  return {
    push: (piece: Buffer) => {
      const whole = piece.length >= length
      const bytes = whole ? piece : Buffer.concat([last, piece])
      if (whole) hash.update(last)
      const end = Math.max(0, bytes.length - length)
      hash.update(bytes.subarray(0, end))
      last = bytes.subarray(end)
    },
    isRight: () => last.length === length && hash.digest().equals(last),
  }
}

/** "PACK", version, number of objects. */
const HEADER = 12

/** All wants are there, whole and not as deltas. */
function holds(pack: Buffer, format: ObjectFormat, wants: string[]): boolean {
  const missing = new Set(wants)
  let at = HEADER
  while (missing.size > 0) {
    const object = readObject(pack, at, format)
    if (object === null) return false
    if (object.type !== undefined) missing.delete(oidOf(object.type, object.bytes, format))
    at = object.end
  }
  return true
}

function oidOf(type: string, bytes: Buffer, format: ObjectFormat): string {
  return createHash(format).update(`${type} ${bytes.length}\0`).update(bytes).digest('hex')
}

interface PackObject {
  /** Undefined for a delta. */
  type: string | undefined
  bytes: Buffer
  /** Where the next begins. */
  end: number
}

const TYPES: (string | undefined)[] = [undefined, 'commit', 'tree', 'blob', 'tag']
const OFS_DELTA = 6
const REF_DELTA = 7
/** Of a byte that is followed by another of the same number. */
const MORE = 0x80
const MAX_SIZE = 1024 * 1024

/** Null where it is not all there, or is larger than what is wanted usually is. */
function readObject(pack: Buffer, from: number, format: ObjectFormat): PackObject | null {
  let at = from
  const next = () => pack[at++] ?? 0
  let byte = next()
  const type = (byte >> 4) & 7
  let size = byte & 15
  for (let unit = 16; (byte & MORE) !== 0; unit *= 128) {
    byte = next()
    size += (byte & ~MORE) * unit
  }
  if (size > MAX_SIZE) {
    return null
  }
  if (type === REF_DELTA) at += CHECKSUM_LENGTH[format]
  if (type === OFS_DELTA) while ((next() & MORE) !== 0);
  try {
    const options = { info: true, maxOutputLength: Math.max(1, size) }
    // @types/node does not know what `info` does.
    const inflated: unknown = inflateSync(pack.subarray(at), options)
    const { buffer, engine } = inflated as { buffer: Buffer; engine: Inflate }
    return { type: TYPES[type], bytes: buffer, end: at + engine.bytesWritten }
  } catch {
    return null
  }
}
