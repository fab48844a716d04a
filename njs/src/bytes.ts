/** Bodies as nginx has them: a source of pkt-lines, and inflated. */
import { isGzip } from './git/classify.ts'
import { gunzip, gzipStored } from './git/gzip.ts'
import type { PktSource } from './git/pkt-line.ts'

/** ASCII is decoded once; other bytes packet by packet, since their offsets move in a string. */
export function bufferSource(buffer: Buffer): PktSource {
  const text = buffer.toString()
  return text.length === buffer.length
    ? text
    : { length: buffer.length, substring: (start, end) => buffer.subarray(start, end).toString() }
}

/** Null where it cannot be inflated, or to more than `limit` bytes. */
export function decoded(
  buffer: Buffer,
  encoding: string | string[] | undefined,
  limit: number
): Buffer | null {
  if (encoding === undefined) {
    return buffer
  }
  const inflated = encoding === 'gzip' ? gunzip(buffer, limit) : null
  return inflated === null ? null : Buffer.from(inflated)
}

/**
 * A question goes out under the client's headers, so in the client's encoding: git http-backend
 * inflates what says gzip, also the body that a GET does not have.
 */
export function encodedAs(text: string, contentEncoding: string): string | Buffer {
  return isGzip(contentEncoding) ? Buffer.from(gzipStored(Buffer.from(text))) : text
}
