/** What a check reads of an answer while it comes: all of it, or an error where not all of it came. */
import fc from 'fast-check'
import { afterAll, expect, test } from 'vitest'
import { Job } from '../../sidecar/src/job.ts'
import { packData } from '../../sidecar/src/pack-data.ts'
import { openStore } from '../../sidecar/src/store.ts'
import { scratch } from '../support/git.ts'
import { answerOf, record, withFaults } from '../support/job.ts'
import { prepareLayout } from '../support/layout.ts'

const work = scratch()
afterAll(work.remove)

const store = openStore(prepareLayout(work.dir))
const answer = answerOf(40, 9000)

async function jobOf(faults = {}): Promise<Job> {
  return new Job(2, withFaults(await store.create('/a'), faults), true)
}

async function all(pieces: AsyncIterable<Buffer>): Promise<Buffer> {
  const read: Buffer[] = []
  for await (const piece of pieces) read.push(piece)
  return Buffer.concat(read)
}

test('whoever begins before, while or after it comes reads every byte', async () => {
  const job = await jobOf()
  const early = all(job.spooled())
  const recorded = record(job, answer)
  await job.begun()
  const later = all(job.spooled())
  await recorded
  const last = all(job.spooled())
  for (const bytes of await Promise.all([early, later, last])) {
    expect(bytes.equals(answer)).toBe(true)
  }
  job.retire()
})

test('an answer that breaks off, wherever it does, is an error', async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: answer.length - 1 }), async (length) => {
      const job = await jobOf()
      const read = all(job.spooled())
      read.catch(() => {})
      await record(job, answer.subarray(0, length)).catch(() => {})
      await expect(read).rejects.toThrow('breaks off')
      job.retire()
    }),
    { numRuns: 30 }
  )
})

test('what the disk did not take is an error', async () => {
  const full = Object.assign(new Error('no space left'), { code: 'ENOSPC' })
  const job = await jobOf({ write: () => Promise.reject(full) })
  const read = all(job.spooled())
  read.catch(() => {})
  await record(job, answer)
  await expect(read).rejects.toBe(full)
  job.retire()
})

test('who awaits it is noticed at once, and so is its end', async () => {
  const job = await jobOf()
  const awaited = job.ended(true)
  expect([job.hurry(), job.hurry()]).toEqual([0, 1])
  await awaited
  expect([job.isAwaited, job.isRecorded]).toEqual([true, false])
  const ended = job.ended()
  await record(job, answer)
  await ended
  expect(job.isRecorded).toBe(true)
  job.retire()
})

test('a pack is the same however its answer is cut into pieces', async () => {
  const whole = Buffer.concat(Array.from({ length: 40 }, (_, i) => Buffer.alloc(9000, i + 1)))
  const lengths = fc.array(fc.integer({ min: 1, max: 70_000 }), { minLength: 1 })
  await fc.assert(
    fc.asyncProperty(lengths, async (cuts) => {
      async function* pieces() {
        for (let at = 0, i = 0; at < answer.length; i++) {
          const length = cuts[i % cuts.length] ?? 1
          yield answer.subarray(at, at + length)
          at += length
        }
      }
      expect((await all(packData(pieces()))).equals(whole)).toBe(true)
    }),
    { numRuns: 30 }
  )
})
