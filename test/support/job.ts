/** Answers for a Job to record, clients that read them, and a file layer that fails. */
import type { FileHandle } from 'node:fs/promises'
import type { ServerResponse } from 'node:http'
import { Writable } from 'node:stream'
import type { AnswerSource, Job } from '../../sidecar/src/job.ts'
import type { SpoolFile } from '../../sidecar/src/store.ts'

/** The same file, but for these calls. */
export function withFaults(
  spool: SpoolFile,
  faults: Partial<Record<keyof FileHandle, unknown>>
): SpoolFile {
  const handle = new Proxy(spool.handle, {
    get: (target, name) => {
      if (name in faults) return faults[name as keyof FileHandle]
      const value = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
  return { ...spool, handle }
}

export function pkt(band: number, payload: Buffer): Buffer {
  const head = (payload.length + 5).toString(16).padStart(4, '0')
  return Buffer.concat([Buffer.from(head), Buffer.from([band]), payload])
}

/** An answer of so many packets of so many bytes. */
export function answerOf(packets: number, bytes: number): Buffer {
  const pack = Array.from({ length: packets }, (_, i) => pkt(1, Buffer.alloc(bytes, i + 1)))
  return Buffer.concat([Buffer.from('000dpackfile\n'), ...pack, Buffer.from('0000')])
}

/** A client that takes each write after so many milliseconds. */
export function reader(pause: number): { response: ServerResponse; bytes: () => Buffer } {
  const chunks: Buffer[] = []
  const sink = new Writable({
    write: (chunk: Buffer, _, done) => {
      chunks.push(Buffer.from(chunk))
      setTimeout(done, pause)
    },
  })
  return { response: sink as unknown as ServerResponse, bytes: () => Buffer.concat(chunks) }
}

export function record(job: Job, answer: Buffer): Promise<void> {
  async function* pieces() {
    for (let at = 0; at < answer.length; at += 65536) yield answer.subarray(at, at + 65536)
  }
  return job.record(sourceOf(pieces()))
}

/** A maker of an answer that ends well. */
export function sourceOf(stdout: AsyncIterable<Buffer>): AnswerSource {
  return { stdout, done: Promise.resolve({ code: 0, stderr: '' }), kill: () => {} }
}
