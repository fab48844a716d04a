/**
 * Takes the answer of upload-pack apart as it comes: what belongs to the answer is kept, whatever
 * was asked for; what is said beside it (progress, signs of life, errors) is given aside. Knows at
 * any time: has pack data begun, has it failed, is it complete.
 * Source: gitprotocol-v2(5) "output" of fetch; gitprotocol-pack(5) "side-band-64k".
 */
import { chomp } from './pkt-line.ts'

export interface AnswerState {
  /** Payload of band 1 was seen; git's keep-alive is an empty packet and proves nothing. */
  started: boolean
  /** An `ERR` packet, band 3, or bytes that do not parse. */
  failed: boolean
  /** Band 3: the repository that upload-pack ran on is damaged. */
  damaged: boolean
  /** The last packet was a flush after pack data. */
  complete: boolean
  /** Oids of `shallow` lines, asked for or not. */
  shallows: string[]
}

/** `kept`: any bytes of the answer, also parts of packets. The others are whole packets. */
export interface Piece {
  kind: 'kept' | 'progress' | 'alive' | 'error'
  bytes: Uint8Array
}

export interface AnswerSplitter {
  state: AnswerState
  /** The kept pieces of all chunks together are the answer without what was said beside it. */
  push(chunk: Uint8Array): Piece[]
}

/** How a packet's payload is read: pack data as it comes, all else when it is whole. */
interface Packet {
  /** `length` digits, `band`: the first payload byte, `data`: of band 1, `text`: anything else. */
  reading: 'length' | 'band' | 'data' | 'text'
  bytes: number[]
  /** Payload bytes to come. */
  left: number
  /** Where it begins in this chunk; -1 in an earlier one. */
  start: number
}

export function splitAnswer(family: 0 | 2): AnswerSplitter {
  const state: AnswerState = {
    started: false,
    failed: false,
    damaged: false,
    complete: false,
    shallows: [],
  }
  const at: Packet = { reading: 'length', bytes: [], left: 4, start: 0 }
  const out: { pieces: Piece[]; chunk: Uint8Array; from: number } = {
    pieces: [],
    chunk: new Uint8Array(0),
    from: -1,
  }
  /** Of v2, whether its section has begun; v0 has no sections. */
  let packfile = family === 0

  function give(kind: Piece['kind'], bytes: Uint8Array): void {
    if (bytes.length > 0) out.pieces.push({ kind, bytes })
  }

  /** Ends the run of kept bytes of this chunk before `end`. */
  function flush(end: number): void {
    if (out.from >= 0) give('kept', out.chunk.subarray(out.from, end))
    out.from = -1
  }

  function next(pos: number): void {
    at.reading = 'length'
    at.bytes = []
    at.left = 4
    at.start = pos
  }

  /** The packet so far belongs to the answer: it joins the run that ends at `pos`. */
  function keep(pos: number): void {
    if (at.start < 0) {
      give('kept', Uint8Array.from(at.bytes))
      out.from = pos
    } else if (out.from < 0) {
      out.from = at.start
    }
  }

  /** From here on everything is the error: whoever relays an answer relays its end too. */
  function fail(): void {
    state.failed = true
    if (at.start >= 0) flush(at.start)
    give('error', Uint8Array.from(at.bytes))
  }

  function length(pos: number): void {
    const digits = String.fromCharCode(...at.bytes)
    const value = /^[0-9a-f]{4}$/i.test(digits) ? parseInt(digits, 16) : 3
    if (value === 3) {
      fail()
      return
    }
    state.complete = value === 0 && state.started
    if (value <= 4) {
      keep(pos)
      next(pos)
      return
    }
    at.left = value - 4
    at.reading = packfile ? 'band' : 'text'
  }

  function band(pos: number): void {
    if (at.bytes[4] !== 1) {
      at.reading = 'text'
      if (at.left === 0) text(pos)
    } else if (at.left === 0) {
      aside('alive', pos)
    } else {
      keep(pos)
      at.reading = 'data'
    }
  }

  function aside(kind: Piece['kind'], pos: number): void {
    if (at.start >= 0) flush(at.start)
    give(kind, Uint8Array.from(at.bytes))
    next(pos)
  }

  /** The oid of a packet `shallow <oid>`. */
  function boundary(): string {
    return chomp(String.fromCharCode(...at.bytes.slice(4 + 'shallow '.length)))
  }

  /** A whole packet that is no pack data. */
  function text(pos: number): void {
    const line = String.fromCharCode(...at.bytes.slice(4, 20))
    const code = packfile ? at.bytes[4] : 0
    if (line.startsWith('ERR ') || code === 3) {
      state.damaged = code === 3
      fail()
    } else if (code === 2) {
      aside('progress', pos)
    } else if (packfile && (family === 2 || !/^(NAK|ACK |shallow |unshallow )/.test(line))) {
      fail()
    } else {
      if (line.startsWith('shallow ')) state.shallows.push(boundary())
      packfile = packfile || line.startsWith('packfile')
      aside('kept', pos)
    }
  }

  function step(pos: number): number {
    const byte = out.chunk[pos] as number
    if (at.reading === 'data') {
      const take = Math.min(at.left, out.chunk.length - pos)
      state.started = true
      at.left -= take
      if (at.left === 0) next(pos + take)
      return pos + take
    }
    at.bytes.push(byte)
    at.left -= 1
    if (at.reading === 'band') band(pos + 1)
    else if (at.left === 0) (at.reading === 'length' ? length : text)(pos + 1)
    return pos + 1
  }

  function push(chunk: Uint8Array): Piece[] {
    out.pieces = []
    out.chunk = chunk
    out.from = at.reading === 'data' ? 0 : -1
    at.start = at.reading === 'length' && at.bytes.length === 0 ? 0 : -1
    let pos = 0
    while (pos < chunk.length && !state.failed) pos = step(pos)
    if (!state.failed) flush(at.reading === 'data' || at.start < 0 ? pos : at.start)
    else give('error', chunk.subarray(pos))
    return out.pieces
  }

  return { state, push }
}
