/**
 * A job: one answer while it is made, spooled to a file. It belongs to its key, not to the client
 * who asked first: it goes on when he hangs up, and others read from byte 0 at their own pace.
 */
import { randomBytes } from 'node:crypto'
import { EventEmitter, once } from 'node:events'
import type { ServerResponse } from 'node:http'
import type { Readable } from 'node:stream'
import { type AnswerScanner, scanAnswer } from '../../njs/src/git/answer.ts'
import type { GitProcess } from './git.ts'
import { Pass } from './protocol.ts'
import type { SpoolFile } from './store.ts'

const CHUNK = 64 * 1024

export class Job {
  readonly id = randomBytes(16).toString('hex')
  readonly key: string
  readonly #spool: SpoolFile
  readonly #scanner: AnswerScanner
  readonly #events = new EventEmitter().setMaxListeners(0)
  #size = 0
  #state: 'running' | 'done' | 'failed' = 'running'
  #readers = 0
  #retired = false

  constructor(key: string, family: 0 | 2, spool: SpoolFile) {
    this.key = key
    this.#spool = spool
    this.#scanner = scanAnswer(family)
  }

  get answer() {
    return this.#scanner.state
  }

  get size(): number {
    return this.#size
  }

  /** Writes what git says to the spool until it ends. Throws Pass unless the answer is complete. */
  async record(git: GitProcess): Promise<void> {
    try {
      await this.#copy(git.stdout)
      const { code, stderr } = await git.done
      if (code !== 0 || this.answer.failed || !this.answer.complete) {
        throw new Pass(this.answer.started ? 'generate' : 'not-ready', stderr.trim())
      }
      this.#end('done')
    } catch (error) {
      git.kill()
      this.#end('failed')
      throw error
    }
  }

  async #copy(stdout: Readable): Promise<void> {
    for await (const chunk of stdout as AsyncIterable<Buffer>) {
      await this.#spool.handle.write(chunk, 0, chunk.length, this.#size)
      this.#scanner.push(chunk)
      this.#size += chunk.length
      this.#events.emit('change')
    }
  }

  #end(state: 'done' | 'failed'): void {
    this.#state = state
    this.#events.emit('change')
    this.#closeWhenUnused()
  }

  /**
   * Resolves when the answer may be sent: its first payload byte is there, or `commitAfter`
   * milliseconds have passed since git began to speak. Throws Pass where it fails before.
   */
  async committed(commitAfter: number): Promise<void> {
    const deadline = Date.now() + commitAfter
    for (;;) {
      if (this.#state === 'failed') {
        throw new Pass('generate')
      }
      const spoken = this.#size > 0 && Date.now() >= deadline
      if (this.answer.started || this.#state === 'done' || spoken) {
        return
      }
      await this.#change(Math.max(1, deadline - Date.now()))
    }
  }

  async #change(timeout?: number): Promise<void> {
    const wait = timeout === undefined ? {} : { signal: AbortSignal.timeout(timeout) }
    await once(this.#events, 'change', wait).catch(() => {})
  }

  /** Sends the answer from byte 0; cuts the connection where the answer breaks off. */
  async send(response: ServerResponse): Promise<void> {
    this.#readers += 1
    response.once('close', () => this.#events.emit('change'))
    try {
      await this.#sendAll(response)
    } finally {
      this.#readers -= 1
      this.#closeWhenUnused()
    }
  }

  async #sendAll(response: ServerResponse): Promise<void> {
    const buffer = Buffer.allocUnsafe(CHUNK)
    let sent = 0
    while (!response.destroyed) {
      if (this.#state === 'failed') {
        response.destroy()
      } else if (sent < this.#size) {
        const { bytesRead } = await this.#spool.handle.read(buffer, 0, CHUNK, sent)
        sent += bytesRead
        // The buffer is used again only when this write is out.
        await new Promise<void>((resolve) => {
          response.write(buffer.subarray(0, bytesRead), () => resolve())
        })
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
