/**
 * What is said beside an answer while it is made (band 2 and 3, keep-alives): it reaches who reads and
 * is not spooled. Within bounds, since it is remembered for those who come later.
 */
import type { Piece } from '../../njs/src/git/answer.ts'

/** Of progress, so much is kept, and no more is given. Bytes. */
const MAX_PROGRESS = 256 * 1024
/** Of an error: then the answer is cut. Bytes. */
const MAX_ERROR = 256 * 1024
/** An empty packet of band 1, upload-pack's own sign of life. */
export const KEEP_ALIVE = Buffer.from('0005\x01')
/** As uploadpack.keepAlive, git-config(1). Milliseconds. */
export const KEEP_ALIVE_AFTER = 5000
/** Of upstream's own, no more often: each is remembered. Milliseconds. */
const ALIVE_AT_MOST = 1000

/** A piece, and how many spooled bytes come before it. */
export interface Aside extends Piece {
  at: number
}

export class Asides {
  readonly #pieces: Aside[] = []
  #progressBytes = 0
  #errorBytes = 0
  #lastAt = 0

  /** In the order in which they were said. */
  get(index: number): Aside | undefined {
    return this.#pieces[index]
  }

  /** Something was said, and not an error first. */
  get hasBegun(): boolean {
    return this.#pieces.length > 0 && this.#pieces[0]?.kind !== 'error'
  }

  /** Progress and signs of life come behind all that precedes the pack. */
  get isCounting(): boolean {
    return this.#pieces.some(({ kind }) => kind !== 'error')
  }

  get isErrorWithoutEnd(): boolean {
    return this.#errorBytes > MAX_ERROR
  }

  add(piece: Piece, at: number): void {
    if (piece.kind === 'progress') this.#progressBytes += piece.bytes.length
    if (piece.kind === 'error') this.#errorBytes += piece.bytes.length
    const tooMuch = piece.kind === 'progress' && this.#progressBytes > MAX_PROGRESS
    const silent = Date.now() - this.#lastAt
    if (tooMuch && silent < KEEP_ALIVE_AFTER) return
    if (piece.kind === 'alive' && silent < ALIVE_AT_MOST) return
    const { kind, bytes } = tooMuch ? { kind: 'alive' as const, bytes: KEEP_ALIVE } : piece
    // A view of the chunk it came in would keep all of that.
    this.#pieces.push({ kind, bytes: Buffer.from(bytes), at })
    this.#lastAt = Date.now()
  }
}

/** Whole lines of progress.c and of pack-objects' sum, in a packet of band 2. (Each byte can match in one way.) */
const PROGRESS =
  /^(?:(?:(?:Enumerating|Counting|Compressing) objects: [\d %()/,]*(?:done\. *)?|Total \d+ \(delta \d+\), reused \d+ \(delta \d+\)(?:, pack-reused \d+(?: \(from \d+\))?)?)?[\r\n])+$/

export function isGitsProgress(packet: Uint8Array): boolean {
  return PROGRESS.test(Buffer.from(packet).toString('latin1', 5))
}
