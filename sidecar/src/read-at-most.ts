/** Bodies that have a bound. */

/** Null where there is more than `limit`, in bytes; the rest is not read. Rejects as `body` does. */
export async function readAtMost(
  body: AsyncIterable<Buffer>,
  limit: number
): Promise<Buffer | null> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of body) {
    size += chunk.length
    if (size > limit) {
      return null
    }
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
