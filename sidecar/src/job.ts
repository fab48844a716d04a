/**
 * A job: one answer while it is made, spooled to a file. It belongs to its key, not to the client
 * who asked first: it goes on when he hangs up, and others read from byte 0 at their own pace.
 * What is said beside the answer (progress, signs of life) reaches who reads, and is not spooled.
 */
import { EventEmitter, once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { type Piece, splitAnswer } from '../../njs/src/git/answer.ts'
import { type Aside, Asides, isGitsProgress, KEEP_ALIVE, KEEP_ALIVE_AFTER } from './asides.ts'
import { STARVED } from './git.ts'
import { Pass } from './protocol.ts'
import { CHUNK, Spool } from './spool.ts'
import type { SpoolFile } from './store.ts'

/** Of what a full disk did not take, so much waits in memory for its readers; and so long for the first. */
const MAX_TAIL = 4 * 1024 * 1024
const READER_PATIENCE = 10_000

/** Where the bytes come from: git on a mirror, or upstream itself. */
export interface AnswerSource {
  stdout: AsyncIterable<Buffer>
  /** Settles when all has been read; never rejects. A code other than 0 is a failure. */
  done: Promise<{ code: number; stderr: string }>
  kill(): void
}

export interface Hearer {
  /** The client did not ask for no-progress. */
  progress: boolean
  /** It was he who was answered: what upstream says beside its answer is for him. */
  first: boolean
}

export class Job {
  readonly #spool: Spool
  readonly #splitter
  /** Upstream's own words: its errors are for whoever reads, a mirror's are not. */
  readonly #relay: boolean
  readonly #events = new EventEmitter().setMaxListeners(0)
  readonly #asides = new Asides()
  #awaitedBy = 0
  #state: 'running' | 'done' | 'failed' = 'running'
  readonly #readers = new Set<{ sent: number; response: ServerResponse }>()
  #retired = false
  #closed = false
  #starved = false
  #source: AnswerSource | null = null
  #aborted = false

  constructor(family: 0 | 2, file: SpoolFile, relay: boolean) {
    this.#spool = new Spool(file.handle)
    this.#splitter = splitAnswer(family)
    this.#relay = relay
  }

  get answer() {
    return this.#splitter.state
  }

  get size(): number {
    return this.#spool.size
  }

  /** Why the disk does not have all of it: its error, or null; also where it was purged, and its file closed. */
  get lost(): unknown {
    return this.#aborted ? null : this.#spool.lost
  }

  /** Why there is no more of it, where it broke off. */
  get brokenOff(): 'broken-off' | 'generate' {
    return this.#relay ? 'broken-off' : 'generate'
  }

  /** Our git said that it has no memory or room: pack-objects says so to the client, in band 2. */
  get starved(): boolean {
    return this.#starved
  }

  get isRunning(): boolean {
    return this.#state === 'running'
  }

  /** All of it has come. */
  get isRecorded(): boolean {
    return this.#state === 'done' && this.answer.complete && !this.answer.failed
  }

  /** Whether a reader that begins now gets every byte that there is. */
  get isReadable(): boolean {
    return !this.#retired && this.#spool.hasAll
  }

  /** Somebody other than who asked first would have it stored soon. */
  get isAwaited(): boolean {
    return this.#awaitedBy > 0
  }

  /** One more awaits it. Returns how many did before. */
  hurry(): number {
    this.#awaitedBy += 1
    this.#events.emit('change')
    return this.#awaitedBy - 1
  }

  /** Resolves when it has ended; with `orAwaited`, also as soon as somebody awaits it. */
  async ended(orAwaited = false): Promise<void> {
    while (this.isRunning && !(orAwaited && this.isAwaited)) await this.#change()
  }

  /** Why it failed: of what was purged nothing else is to blame. */
  blamed(error: unknown): unknown {
    return this.#aborted ? new Pass('store', 'purged') : error
  }

  /** Ends it in the middle, for everyone. */
  abort(): void {
    this.#aborted = true
    if (this.#state === 'running') {
      // Later its process id may be another's.
      this.#source?.kill()
      this.#end('failed')
    }
    // Who is slow hangs in a write.
    for (const { response } of this.#readers) response.destroy()
    this.#events.emit('change')
  }

  /** Spools what the source says until it ends. Throws Pass unless the answer is complete. */
  async record(source: AnswerSource): Promise<void> {
    this.#source = source
    if (this.#aborted) source.kill()
    try {
      await this.#copy(source.stdout)
      const { code, stderr } = await source.done
      if (this.#aborted) throw new Pass('store', 'purged')
      const whole = code === 0 && !this.answer.failed && this.answer.complete
      this.#end(whole || (this.#relay && code === 0 && this.#hasBegun()) ? 'done' : 'failed')
      if (!whole) {
        throw new Pass(this.answer.started ? this.brokenOff : 'not-ready', stderr.trim())
      }
    } catch (error) {
      source.kill()
      if (this.#state === 'running') this.#end('failed')
      throw this.blamed(error)
    }
  }

  async #copy(stdout: AsyncIterable<Buffer>): Promise<void> {
    for await (const chunk of stdout) {
      if (this.#aborted) return
      for (const piece of this.#splitter.push(chunk)) {
        if (piece.kind === 'kept') await this.#keep(piece.bytes)
        else this.#setAside(piece)
      }
      this.#events.emit('change')
      if (this.answer.failed && !(this.#relay && this.#hasBegun())) return
      // All that comes after it are an error's words.
      if (this.#asides.isErrorWithoutEnd) throw new Pass('not-ready', 'an error without end')
    }
  }

  async #keep(piece: Uint8Array): Promise<void> {
    await this.#spool.append(piece)
    if (this.lost !== null) await this.#untilRead()
  }

  /** Who makes it waits for the slowest reader of what the disk did not take. */
  async #untilRead(): Promise<void> {
    this.#events.emit('change')
    const patience = Date.now() + READER_PATIENCE
    for (;;) {
      const slowest = Math.min(...[...this.#readers].map(({ sent }) => sent))
      if (this.#readers.size > 0) this.#spool.trim(slowest)
      if (this.#spool.inMemory <= MAX_TAIL) return
      if (this.#readers.size === 0 && Date.now() > patience) {
        throw new Pass('store', 'nobody reads what the disk did not take')
      }
      await this.#change(READER_PATIENCE)
    }
  }

  #setAside(piece: Piece): void {
    if (piece.kind === 'error' && !this.#relay) return
    if (!this.#relay && STARVED.test(Buffer.from(piece.bytes).toString('latin1'))) {
      this.#starved = true
    }
    this.#asides.add(piece, this.size)
  }

  /** Something other than an error was said. */
  #hasBegun(): boolean {
    return this.size > 0 || this.#asides.hasBegun
  }

  #end(state: 'done' | 'failed'): void {
    this.#state = state
    this.#spool.end()
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
   * there, or `commitAfter` milliseconds have passed and its maker says that it is at work. Throws
   * Pass where it fails before.
   */
  async committed(commitAfter: number): Promise<void> {
    const deadline = Date.now() + commitAfter
    for (;;) {
      if (this.#state === 'failed' || this.answer.failed) {
        throw new Pass(this.#relay && !this.#hasBegun() ? 'refused' : this.brokenOff)
      }
      if (this.answer.started || this.#state === 'done') {
        return
      }
      if (this.#asides.isCounting && Date.now() >= deadline) {
        return
      }
      const left = deadline - Date.now()
      await this.#change(left > 0 ? Math.min(left, 2 ** 30) : undefined)
    }
  }

  async #change(timeout?: number): Promise<void> {
    const wait = timeout === undefined ? {} : { signal: AbortSignal.timeout(timeout) }
    await once(this.#events, 'change', wait).catch(() => {})
  }

  /**
   * Sends the answer from byte 0; cuts the connection where the answer breaks off. Returns how many
   * bytes of the answer itself were sent.
   */
  async send(response: ServerResponse, hearer: Hearer): Promise<number> {
    const reader = { sent: 0, response }
    this.#readers.add(reader)
    response.once('close', () => this.#events.emit('change'))
    try {
      await this.#sendAll(response, reader, hearer)
    } finally {
      this.#readers.delete(reader)
      this.#events.emit('change')
      this.#closeWhenUnused()
    }
    return reader.sent
  }

  async #sendAll(
    response: ServerResponse,
    reader: { sent: number },
    hearer: Hearer
  ): Promise<void> {
    const buffer = Buffer.allocUnsafe(CHUNK)
    const write = writerOf(response)
    let asides = 0
    let spoken = Date.now()
    while (!response.destroyed) {
      if (this.#aborted) {
        response.destroy()
        return
      }
      const aside = this.#asides.get(asides)
      const until = aside?.at ?? this.size
      if (aside !== undefined && reader.sent === aside.at) {
        asides += 1
        if (aside.kind === 'error' && !hearer.first) {
          response.destroy()
          return
        }
        const heard = this.#isFor(hearer, aside)
        // While there is progress upload-pack sends no keep-alives: who wants none would hear nothing.
        if (heard || Date.now() - spoken >= KEEP_ALIVE_AFTER) {
          await write(heard ? aside.bytes : KEEP_ALIVE)
          spoken = Date.now()
        }
      } else if (reader.sent < until) {
        // The buffer is used again only when this write is out.
        const bytes = await this.#spool.read(buffer, reader.sent, until)
        await write(bytes)
        reader.sent += bytes.length
        spoken = Date.now()
        if (this.lost !== null) this.#events.emit('change')
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

  /** Upstream may greet a client by name: of its words others are given what git itself says. */
  #isFor({ progress, first }: Hearer, { kind, bytes }: Aside): boolean {
    if (kind !== 'progress') return true
    return progress && (first || !this.#relay || isGitsProgress(bytes))
  }

  /** What is spooled, as it comes. Throws where not all of the answer comes, or the disk did not take it. */
  async *spooled(): AsyncGenerator<Buffer> {
    let at = 0
    for (;;) {
      if (this.lost !== null) throw this.lost
      if (at < this.size) {
        const bytes = await this.#spool.read(Buffer.allocUnsafe(CHUNK), at, this.size)
        yield Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
        at += bytes.length
      } else if (this.isRunning) {
        await this.#change()
      } else if (this.isRecorded) {
        return
      } else {
        throw new Error('the answer breaks off')
      }
    }
  }

  /** No new readers from now on; the file is closed when the last one has gone. */
  retire(): void {
    this.#retired = true
    // Nothing was ever recorded: what should have been its source did not come to be.
    if (this.#state === 'running') this.#end('failed')
    this.#closeWhenUnused()
  }

  #closeWhenUnused(): void {
    const unused = this.#readers.size === 0 && this.#state !== 'running'
    if (this.#retired && unused && !this.#closed) {
      this.#closed = true
      this.#spool.close()
    }
  }
}

/**
 * Resolves when a write is out, or the client is gone: Node forgets the callback of a write between the
 * socket's end and `close`. One write at a time.
 */
function writerOf(response: ServerResponse): (bytes: Uint8Array) => Promise<void> {
  let resolve = () => {}
  const done = () => resolve()
  response.once('close', done)
  return (bytes) =>
    new Promise((settle) => {
      resolve = settle
      if (response.closed) settle()
      else response.write(bytes, done)
    })
}
