/** The pack in an answer: what band 1 carries. Source: gitprotocol-pack(5), "side-band-64k". */
const BAND_1 = 1

/**
 * The payload of band 1 of a complete answer, in order, as much at once as is read at once. Text
 * before the pack (acknowledgments, NAK, shallow lines, the section's name) never begins with that
 * byte. Throws on what is not pkt-lines.
 */
export async function* packData(answer: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let rest: Buffer = Buffer.alloc(0)
  for await (const chunk of answer) {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    const payloads: Buffer[] = []
    let pos = 0
    while (pos + 4 <= bytes.length) {
      const digits = bytes.toString('latin1', pos, pos + 4)
      // parseInt alone forgives blanks before the digits and anything behind them.
      if (!/^[0-9a-f]{4}$/.test(digits)) throw new Error('not a pkt-line')
      const length = Math.max(4, parseInt(digits, 16))
      if (pos + length > bytes.length) break
      if (bytes[pos + 4] === BAND_1 && length > 4) {
        payloads.push(bytes.subarray(pos + 5, pos + length))
      }
      pos += length
    }
    if (payloads.length > 0) yield Buffer.concat(payloads)
    rest = bytes.subarray(pos)
  }
  if (rest.length > 0) throw new Error('a pkt-line that is cut off')
}
