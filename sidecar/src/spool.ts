/**
 * The bytes of an answer while it is made: in a file, which many read, and in memory (`tail.ts`) what
 * a full disk did not take.
 */
import type { FileHandle } from 'node:fs/promises'
import { Tail } from './tail.ts'

/** What is read at once. Bytes. */
export const CHUNK = 32 * 1024

export class Spool {
  readonly #file: FileHandle
  #size = 0
  #tail: Tail | null = null
  /** What was written last: who keeps up is spared the disk. */
  #recent: { from: number; bytes: Uint8Array } | null = null
  #lost: unknown = null

  constructor(file: FileHandle) {
    this.#file = file
  }

  get size(): number {
    return this.#size
  }

  /** Why the file does not have all of it: the disk's error, or null. */
  get lost(): unknown {
    return this.#lost
  }

  /** Whether who begins to read now gets every byte that there is. */
  get hasAll(): boolean {
    return this.#tail === null || this.#tail.hasAll
  }

  /** Bytes that only memory has. */
  get inMemory(): number {
    return this.#tail?.bytes ?? 0
  }

  /** A full disk writes a part first, and says so only the next time. */
  async append(piece: Uint8Array): Promise<void> {
    let rest = piece
    while (rest.length > 0 && this.#tail === null) {
      try {
        const { bytesWritten } = await this.#file.write(rest, 0, rest.length, this.#size)
        this.#recent = { from: this.#size, bytes: rest.subarray(0, bytesWritten) }
        this.#size += bytesWritten
        rest = rest.subarray(bytesWritten)
      } catch (error) {
        this.#lost = error
        this.#tail = new Tail(this.#size)
      }
    }
    if (this.#tail !== null && rest.length > 0) {
      this.#tail.push(rest)
      this.#size += rest.length
    }
  }

  /** Nothing more is appended. */
  end(): void {
    this.#recent = null
  }

  /** Lets go of what only memory has before this offset: everyone who reads has had it. */
  trim(offset: number): void {
    this.#tail?.trim(offset)
  }

  /**
   * Up to CHUNK bytes (what memory has, more) from one offset to before another, both within `size`.
   * `buffer` may be what is returned.
   */
  async read(buffer: Buffer, from: number, until: number): Promise<Uint8Array> {
    if (this.#tail !== null && from >= this.#tail.begin) {
      return this.#tail.read(from).subarray(0, until - from)
    }
    const recent = this.#recent
    if (recent !== null && from >= recent.from && from < recent.from + recent.bytes.length) {
      return recent.bytes.subarray(from - recent.from, until - recent.from)
    }
    const end = Math.min(until, this.#tail?.begin ?? until)
    const wanted = Math.min(CHUNK, end - from)
    const { bytesRead } = await this.#file.read(buffer, 0, wanted, from)
    if (bytesRead === 0) throw new Error('the spool is shorter than what was written')
    return buffer.subarray(0, bytesRead)
  }

  close(): void {
    this.#file.close().catch(() => {})
  }
}
