/**
 * The end of an answer that the disk did not take, in memory until all who read have had it. Who
 * makes the answer waits for the slowest of them; nobody can begin to read once some of it is gone.
 */
export class Tail {
  readonly #chunks: Uint8Array[] = []
  /** Offset in the answer of the first byte that is still here, and of the byte behind the last. */
  #from: number
  #until: number
  /** Where the disk's part ends. */
  readonly begin: number

  constructor(begin: number) {
    this.begin = begin
    this.#from = begin
    this.#until = begin
  }

  get bytes(): number {
    return this.#until - this.#from
  }

  /** Whether a reader that begins now would find every byte. */
  get hasAll(): boolean {
    return this.#from === this.begin
  }

  push(bytes: Uint8Array): void {
    this.#chunks.push(bytes)
    this.#until += bytes.length
  }

  /** What is here from this offset on to the end of its chunk; empty where nothing is. */
  read(offset: number): Uint8Array {
    let at = this.#from
    for (const chunk of this.#chunks) {
      if (offset < at + chunk.length) return chunk.subarray(offset - at)
      at += chunk.length
    }
    return new Uint8Array()
  }

  /** Lets go of what lies before this offset. */
  trim(offset: number): void {
    for (let first = this.#chunks[0]; first !== undefined; first = this.#chunks[0]) {
      if (this.#from + first.length > offset) return
      this.#from += first.length
      this.#chunks.shift()
    }
  }
}
