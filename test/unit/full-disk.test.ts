/** A job whose disk takes only so much: who reads gets all of it, nobody reads half, nothing is stored. */
import fc from 'fast-check'
import { afterAll, expect, test } from 'vitest'
import { Job } from '../../sidecar/src/job.ts'
import { openStore, type SpoolFile } from '../../sidecar/src/store.ts'
import { scratch } from '../support/git.ts'
import { answerOf, reader, record, withFaults } from '../support/job.ts'
import { prepareLayout } from '../support/layout.ts'

const work = scratch()
afterAll(work.remove)

const dirs = prepareLayout(work.dir)

/** A file that takes `room` bytes: the write that goes beyond takes a part, the next none. */
async function spoolOf(room: number): Promise<SpoolFile> {
  const spool = await openStore(dirs).create('/a')
  const { handle } = spool
  let left = room
  const write = async (bytes: Uint8Array, offset: number, length: number, position: number) => {
    if (left === 0) throw Object.assign(new Error('no space left'), { code: 'ENOSPC' })
    const taken = Math.min(left, length)
    left -= taken
    return handle.write(bytes, offset, taken, position)
  }
  return withFaults(spool, { write })
}

test('wherever the disk ends, every reader who began in time gets every byte', async () => {
  const answer = answerOf(200, 60_000)
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 0, max: answer.length }),
      fc.array(fc.integer({ min: 0, max: 2 }), { minLength: 1, maxLength: 4 }),
      async (room, pauses) => {
        const job = new Job(2, await spoolOf(room), false)
        const readers = pauses.map(reader)
        const sent = readers.map(({ response }) =>
          job.send(response, { progress: false, first: true })
        )
        await record(job, answer)
        await Promise.all(sent)
        for (const { bytes } of readers) expect(bytes().equals(answer)).toBe(true)
        expect(job.lost === null).toBe(room === answer.length)
        job.retire()
      }
    ),
    { numRuns: 12 }
  )
})

test('who comes when some of it is gone is told so', async () => {
  const answer = answerOf(200, 60_000)
  const job = new Job(2, await spoolOf(100_000), false)
  const first = reader(0)
  const sent = job.send(first.response, { progress: false, first: true })
  expect(job.isReadable).toBe(true)
  await record(job, answer)
  await sent
  expect(job.isReadable).toBe(false)
  expect(first.bytes().equals(answer)).toBe(true)
})
