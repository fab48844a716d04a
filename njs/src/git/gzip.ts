/**
 * gzip for the probe, on engines that have no zlib. The probe goes out under the client's own
 * headers, so its body must be in the client's Content-Encoding, and its answer may come back
 * compressed. Bodies are framed in stored blocks; answers are inflated within a bound.
 * Source: RFC 1952 (gzip), RFC 1951 (deflate); the decoder follows Mark Adler's puff.
 */

const STORED_BLOCK = 65535
const FTEXT_FHCRC_FEXTRA_FNAME_FCOMMENT = 0x1f

export function isGzipped(data: Uint8Array): boolean {
  return data.length >= 18 && data[0] === 0x1f && data[1] === 0x8b && data[2] === 8
}

/** The size that a gzip file announces in its trailer, modulo 2^32. */
export function announcedSize(data: Uint8Array): number {
  return uint32(data, data.length - 4)
}

function uint32(data: Uint8Array, i: number): number {
  const low = at(data, i) | (at(data, i + 1) << 8)
  return (low | (at(data, i + 2) << 16) | (at(data, i + 3) << 24)) >>> 0
}

function at(data: Uint8Array, i: number): number {
  return data[i] as number
}

/** A gzip file that holds `data` uncompressed. */
export function gzipStored(data: Uint8Array): Uint8Array {
  const blocks = Math.max(1, Math.ceil(data.length / STORED_BLOCK))
  const out = new Uint8Array(10 + data.length + blocks * 5 + 8)
  out.set([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255], 0)
  let to = 10
  for (let i = 0; i < blocks; i++) {
    const block = data.subarray(i * STORED_BLOCK, (i + 1) * STORED_BLOCK)
    const n = block.length
    out.set([i === blocks - 1 ? 1 : 0, n & 255, n >> 8, ~n & 255, (~n >> 8) & 255], to)
    out.set(block, to + 5)
    to += 5 + n
  }
  putUint32(out, to, crc32(data))
  putUint32(out, to + 4, data.length)
  return out
}

function putUint32(out: Uint8Array, to: number, value: number): void {
  out.set([value & 255, (value >>> 8) & 255, (value >>> 16) & 255, (value >>> 24) & 255], to)
}

/** In njs most of what the probe of a gzip request costs: 700 instructions a byte, hence no call in the loop. */
export function crc32(data: Uint8Array): number {
  const table = crcTable()
  const length = data.length
  let crc = -1
  for (let i = 0; i < length; i++) {
    crc = (crc >>> 8) ^ (table[(crc ^ (data[i] as number)) & 255] as number)
  }
  return ~crc >>> 0
}

/** RFC 1952, section 8: each entry is the sum of those of its bits, of which eight are computed. */
function crcTable(): Uint32Array {
  const table = new Uint32Array(256)
  let crc = 1
  for (let bit = 128; bit > 0; bit >>= 1) {
    crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0)
    for (let i = 0; i < 256; i += 2 * bit) {
      table[bit + i] = crc ^ (table[i] as number)
    }
  }
  return table
}

/** The content of a gzip file of one member, or null where it is damaged or larger than `limit`. */
export function gunzip(data: Uint8Array, limit: number): Uint8Array | null {
  // Servers write none of the optional header fields.
  if (
    !isGzipped(data) ||
    at(data, 3) & FTEXT_FHCRC_FEXTRA_FNAME_FCOMMENT ||
    announcedSize(data) > limit
  ) {
    return null
  }
  const out = new Uint8Array(announcedSize(data))
  const end = inflate(data, 10, out)
  return end === data.length - 8 && uint32(data, end) === crc32(out) ? out : null
}

interface Bits {
  data: Uint8Array
  pos: number
  hold: number
  count: number
  out: Uint8Array
  written: number
  failed: boolean
}

interface Huffman {
  /** How many codes there are of each length. */
  counts: Uint16Array
  /** Symbols in the order of their codes. */
  symbols: Uint16Array
}

/** Fills `out` from a deflate stream; gives where the stream ended, or -1 where it does not fit exactly. */
function inflate(data: Uint8Array, start: number, out: Uint8Array): number {
  const s: Bits = { data, pos: start, hold: 0, count: 0, out, written: 0, failed: false }
  let last = 0
  while (!last && !s.failed) {
    last = bits(s, 1)
    const type = bits(s, 2)
    if (type === 0) {
      stored(s)
    } else if (type === 1) {
      codes(s, fixedLengths(), fixedDistances())
    } else if (type === 2) {
      dynamic(s)
    } else {
      s.failed = true
    }
  }
  return s.failed || s.written !== out.length ? -1 : s.pos
}

function bits(s: Bits, need: number): number {
  while (s.count < need) {
    if (s.pos >= s.data.length) {
      s.failed = true
      return 0
    }
    s.hold |= at(s.data, s.pos++) << s.count
    s.count += 8
  }
  const value = s.hold & ((1 << need) - 1)
  s.hold >>>= need
  s.count -= need
  return value
}

function stored(s: Bits): void {
  s.hold = 0
  s.count = 0
  const length = bits(s, 8) | (bits(s, 8) << 8)
  const check = bits(s, 8) | (bits(s, 8) << 8)
  const fits = s.pos + length <= s.data.length && s.written + length <= s.out.length
  if (s.failed || length !== (~check & 0xffff) || !fits) {
    s.failed = true
    return
  }
  s.out.set(s.data.subarray(s.pos, s.pos + length), s.written)
  s.pos += length
  s.written += length
}

function huffman(lengths: number[]): Huffman {
  const counts = new Uint16Array(16)
  lengths.forEach((length) => {
    counts[length] = (counts[length] as number) + 1
  })
  const offsets = new Uint16Array(16)
  for (let i = 1; i < 15; i++) {
    offsets[i + 1] = (offsets[i] as number) + (counts[i] as number)
  }
  const symbols = new Uint16Array(lengths.length)
  for (let i = 0; i < lengths.length; i++) {
    const length = lengths[i] as number
    if (length !== 0) {
      const offset = offsets[length] as number
      symbols[offset] = i
      offsets[length] = offset + 1
    }
  }
  return { counts, symbols }
}

function decode(s: Bits, h: Huffman): number {
  let code = 0
  let first = 0
  let index = 0
  for (let length = 1; length < 16; length++) {
    code |= bits(s, 1)
    const count = h.counts[length] as number
    if (code - count < first) {
      return h.symbols[index + (code - first)] as number
    }
    index += count
    first = (first + count) << 1
    code <<= 1
  }
  s.failed = true
  return 0
}

function codes(s: Bits, lengths: Huffman, distances: Huffman): void {
  for (;;) {
    const symbol = decode(s, lengths)
    if (s.failed || symbol === 256) {
      return
    }
    if (symbol > 285) {
      s.failed = true
    } else if (symbol > 256) {
      copy(s, symbol - 257, distances)
    } else if (s.written < s.out.length) {
      s.out[s.written++] = symbol
    } else {
      s.failed = true
    }
  }
}

/** RFC 1951, 3.2.5: base lengths and distances double every 4 and every 2 codes. */
function copy(s: Bits, code: number, distances: Huffman): void {
  const lengthBits = code < 8 || code === 28 ? 0 : (code >> 2) - 1
  const base = code === 28 ? 258 : code < 8 ? code + 3 : ((4 + (code & 3)) << lengthBits) + 3
  const length = base + bits(s, lengthBits)
  const symbol = decode(s, distances)
  const distanceBits = symbol < 4 ? 0 : (symbol >> 1) - 1
  const near = symbol < 4 ? symbol + 1 : ((2 + (symbol & 1)) << distanceBits) + 1
  const distance = near + bits(s, distanceBits)
  if (s.failed || symbol > 29 || distance > s.written || s.written + length > s.out.length) {
    s.failed = true
    return
  }
  for (let i = 0; i < length; i++) {
    s.out[s.written] = s.out[s.written - distance] as number
    s.written++
  }
}

function fixedLengths(): Huffman {
  const lengths: number[] = []
  for (let i = 0; i < 288; i++) {
    lengths.push(i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8)
  }
  return huffman(lengths)
}

function fixedDistances(): Huffman {
  const lengths: number[] = []
  for (let i = 0; i < 30; i++) {
    lengths.push(5)
  }
  return huffman(lengths)
}

function dynamic(s: Bits): void {
  const order = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]
  const literals = bits(s, 5) + 257
  const total = literals + bits(s, 5) + 1
  const known = bits(s, 4) + 4
  const codeLengths: number[] = []
  for (let i = 0; i < 19; i++) {
    codeLengths.push(0)
  }
  for (let i = 0; i < known; i++) {
    codeLengths[order[i] as number] = bits(s, 3)
  }
  const lengths = readLengths(s, huffman(codeLengths), total)
  if (!s.failed) {
    codes(s, huffman(lengths.slice(0, literals)), huffman(lengths.slice(literals)))
  }
}

function readLengths(s: Bits, code: Huffman, total: number): number[] {
  const lengths: number[] = []
  while (lengths.length < total && !s.failed) {
    const symbol = decode(s, code)
    if (symbol < 16) {
      lengths.push(symbol)
    } else {
      repeat(lengths, symbol === 16 ? lengths[lengths.length - 1] || 0 : 0, repeats(s, symbol))
    }
  }
  if (lengths.length !== total) {
    s.failed = true
  }
  return lengths
}

function repeats(s: Bits, symbol: number): number {
  return symbol === 16 ? 3 + bits(s, 2) : symbol === 17 ? 3 + bits(s, 3) : 11 + bits(s, 7)
}

function repeat(lengths: number[], value: number, times: number): void {
  for (let i = 0; i < times; i++) {
    lengths.push(value)
  }
}
