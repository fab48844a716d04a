/**
 * A job: one answer while it is made, spooled to a file. It belongs to its key, not to the client
 * who asked first: it goes on when he hangs up, and others read from byte 0 at their own pace.
 * What is said beside the answer (progress, signs of life) reaches who reads, and is not spooled.
 */
import { randomBytes } from 'node:crypto'
import { EventEmitter, once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { type Piece, splitAnswer } from '../../njs/src/git/answer.ts'
import { Pass } from './protocol.ts'
import type { SpoolFile } from './store.ts'

const CHUNK = 64 * 1024
/** Of progress, so much is kept for those who come later, and no more is given. Bytes. */
const MAX_PROGRESS = 256 * 1024

/** Where the bytes come from: git on a mirror, or upstream itself. */
export interface AnswerSource {
  stdout: AsyncIterable<Buffer>
  /** Settles when all has been read; never rejects. A code other than 0 is a failure. */
  done: Promise<{ code: number; stderr: string }>
  kill(): void
}

/** A piece that is not spooled, and how many spooled bytes come before it. */
interface Aside extends Piece {
  at: number
}

export class Job {
  /** What readers name: the one gives the answer alone, the other progress as well. */
  readonly quietId = randomBytes(16).toString('hex')
  readonly progressId = randomBytes(16).toString('hex')
  readonly #spool: SpoolFile
  readonly #splitter
  /** Upstream's own words: its errors are for whoever reads, a mirror's are not. */
  readonly #relay: boolean
  readonly #events = new EventEmitter().setMaxListeners(0)
  readonly #asides: Aside[] = []
  #progressBytes = 0
  #size = 0
  #state: 'running' | 'done' | 'failed' = 'running'
  #readers = 0
  #retired = false

  constructor(family: 0 | 2, spool: SpoolFile, relay: boolean) {
    this.#spool = spool
    this.#splitter = splitAnswer(family)
    this.#relay = relay
  }

  get answer() {
    return this.#splitter.state
  }

  get size(): number {
    return this.#size
  }

  /** Spools what the source says until it ends. Throws Pass unless the answer is complete. */
  async record(source: AnswerSource): Promise<void> {
    try {
      await this.#copy(source.stdout)
      const { code, stderr } = await source.done
      const whole = code === 0 && !this.answer.failed && this.answer.complete
      this.#end(whole || (this.#relay && code === 0 && this.#hasBegun()) ? 'done' : 'failed')
      if (!whole) {
        throw new Pass(this.answer.started ? 'generate' : 'not-ready', stderr.trim())
      }
    } catch (error) {
      source.kill()
      if (this.#state === 'running') this.#end('failed')
      throw error
    }
  }

  async #copy(stdout: AsyncIterable<Buffer>): Promise<void> {
    for await (const chunk of stdout) {
      for (const piece of this.#splitter.push(chunk)) {
        if (piece.kind === 'kept') await this.#keep(piece.bytes)
        else this.#setAside(piece)
      }
      this.#events.emit('change')
      if (this.answer.failed && !(this.#relay && this.#hasBegun())) return
    }
  }

  async #keep(bytes: Uint8Array): Promise<void> {
    const { bytesWritten } = await this.#spool.handle.write(bytes, 0, bytes.length, this.#size)
    // A full disk writes a part first, and says so only the next time.
    if (bytesWritten !== bytes.length) throw new Pass('store', 'the disk is full')
    this.#size += bytesWritten
  }

  #setAside(piece: Piece): void {
    if (piece.kind === 'progress') this.#progressBytes += piece.bytes.length
    const dropped = piece.kind === 'progress' && this.#progressBytes > MAX_PROGRESS
    if (!dropped && (this.#relay || piece.kind !== 'error')) {
      // A view of the chunk it came in would keep all of that.
      this.#asides.push({ kind: piece.kind, bytes: Buffer.from(piece.bytes), at: this.#size })
    }
  }

  /** Something other than an error was said. */
  #hasBegun(): boolean {
    return this.#size > 0 || (this.#asides.length > 0 && this.#asides[0]?.kind !== 'error')
  }

  #end(state: 'done' | 'failed'): void {
    this.#state = state
    this.#events.emit('change')
    this.#closeWhenUnused()
  }

  /** Resolves when upstream has begun to answer and not with an error. Throws Pass where it fails before. */
  async begun(): Promise<void> {
    while (!this.#hasBegun()) {
      if (this.#state !== 'running') throw new Pass('refused')
      await this.#change()
    }
  }

  /**
   * Resolves when the answer may be sent to everyone who may have it: its first payload byte is
   * there, or `commitAfter` milliseconds have passed since its maker began to speak. Throws Pass
   * where it fails before.
   */
  async committed(commitAfter: number): Promise<void> {
    const deadline = Date.now() + commitAfter
    for (;;) {
      if (this.#state === 'failed' || this.answer.failed) {
        throw new Pass(this.#relay && !this.#hasBegun() ? 'refused' : 'generate')
      }
      if (this.answer.started || this.#state === 'done') {
        return
      }
      if (this.#hasBegun() && Date.now() >= deadline) {
        return
      }
      await this.#change(Math.max(1, Math.min(deadline - Date.now(), 2 ** 30)))
    }
  }

  async #change(timeout?: number): Promise<void> {
    const wait = timeout === undefined ? {} : { signal: AbortSignal.timeout(timeout) }
    await once(this.#events, 'change', wait).catch(() => {})
  }

  /** Sends the answer from byte 0; cuts the connection where the answer breaks off. */
  async send(response: ServerResponse, id: string): Promise<void> {
    this.#readers += 1
    response.once('close', () => this.#events.emit('change'))
    try {
      await this.#sendAll(response, id === this.progressId)
    } finally {
      this.#readers -= 1
      this.#closeWhenUnused()
    }
  }

  async #sendAll(response: ServerResponse, progress: boolean): Promise<void> {
    const buffer = Buffer.allocUnsafe(CHUNK)
    let sent = 0
    let asides = 0
    while (!response.destroyed) {
      const aside = this.#asides[asides]
      const until = aside?.at ?? this.#size
      if (aside !== undefined && sent === aside.at) {
        asides += 1
        if (progress || aside.kind !== 'progress') await written(response, aside.bytes)
      } else if (sent < until) {
        const wanted = Math.min(CHUNK, until - sent)
        const { bytesRead } = await this.#spool.handle.read(buffer, 0, wanted, sent)
        sent += bytesRead
        // The buffer is used again only when this write is out.
        await written(response, buffer.subarray(0, bytesRead))
      } else if (this.#state === 'failed') {
        response.destroy()
      } else if (this.#state === 'done') {
        response.end()
        return
      } else {
        await this.#change()
      }
    }
  }

  /** No new readers from now on; the file is closed when the last one has gone. */
  retire(): void {
    this.#retired = true
    this.#closeWhenUnused()
  }

  #closeWhenUnused(): void {
    if (this.#retired && this.#readers === 0 && this.#state !== 'running') {
      this.#retired = false
      this.#spool.handle.close().catch(() => {})
    }
  }
}

function written(response: ServerResponse, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    response.write(bytes, () => resolve())
  })
}
