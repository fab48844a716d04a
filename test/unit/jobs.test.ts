/** Answers in the making: who may read them and for how long, and what is let go of. */
import { EventEmitter } from 'node:events'
import type { ServerResponse } from 'node:http'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, expect, test, vi } from 'vitest'
import { openJobs } from '../../sidecar/src/jobs.ts'
import { openStore } from '../../sidecar/src/store.ts'
import type { Work } from '../../sidecar/src/work.ts'
import { scratch } from '../support/git.ts'
import { answerOf, reader, record, sourceOf } from '../support/job.ts'
import { prepareLayout } from '../support/layout.ts'

const work = scratch()
afterAll(work.remove)
afterEach(() => void vi.useRealTimers())
const store = openStore(prepareLayout(path.join(work.dir, 'data')))
const ANSWER = answerOf(2, 100)
const seen = { id: '', upstream: 'http://u', repo: '/a', since: 0 }

async function opened() {
  const jobs = openJobs()
  const spool = await store.create('/a')
  const of = { request: { family: 2 }, name: { repository: '/a' } } as Work
  const job = jobs.open(of, spool, true)
  const admit = () => jobs.admit({ job, seen, progress: false, result: 'miss' })
  return { jobs, spool, job, admit }
}

test('an id is good once', async () => {
  const { jobs, job, admit } = await opened()
  await record(job, ANSWER)
  const id = admit()
  expect(jobs.take(id)?.job).toBe(job)
  expect(jobs.take(id)).toBeUndefined()
  job.retire()
})

test('who was told an id may come late, and is not waited for without end', async () => {
  vi.useFakeTimers({ toFake: ['Date', 'setTimeout'] })
  const { jobs, spool, job, admit } = await opened()
  await record(job, ANSWER)
  const [late, never] = [admit(), admit()]
  jobs.close(job)
  await vi.advanceTimersByTimeAsync(30_000)
  expect(job.isReadable).toBe(true)
  expect(jobs.take(late)?.job).toBe(job)
  await vi.advanceTimersByTimeAsync(60_000)
  expect([jobs.areAwaited(), job.isReadable, jobs.take(never)]).toEqual([false, false, undefined])
  vi.useRealTimers()
  await expect.poll(() => spool.handle.fd).toBe(-1)
})

test('what is aborted is awaited by nobody', async () => {
  const { jobs, admit } = await opened()
  admit()
  jobs.abort('/a')
  expect(jobs.areAwaited()).toBe(false)
})

test('a file is closed when all have read it', async () => {
  const { spool, job } = await opened()
  const client = reader(1)
  const sent = job.send(client.response, { progress: false, first: true })
  await record(job, ANSWER)
  job.retire()
  await sent
  await expect.poll(() => spool.handle.fd).toBe(-1)
})

test('a git that fails after its last packet has not answered', async () => {
  const { job } = await opened()
  async function* whole() {
    yield ANSWER
  }
  const source = { ...sourceOf(whole()), done: Promise.resolve({ code: 128, stderr: 'no' }) }
  await expect(job.record(source)).rejects.toMatchObject({ reason: 'broken-off' })
  job.retire()
})

/** As Node's response: the callback of a write is forgotten when the client goes. */
function forgetful() {
  const response = Object.assign(new EventEmitter(), {
    destroyed: false,
    closed: false,
    writes: 0,
    write: () => {
      response.writes += 1
      return false
    },
    end: () => {},
    destroy: () => {},
  })
  const go = () => {
    Object.assign(response, { destroyed: true, closed: true })
    response.emit('close')
  }
  return { response, go }
}

test('a client who goes in the middle of a write is no reader any longer', async () => {
  const { job } = await opened()
  const { response, go } = forgetful()
  const sent = job.send(response as unknown as ServerResponse, { progress: false, first: true })
  await record(job, ANSWER)
  await expect.poll(() => response.writes).toBe(1)
  go()
  expect(await Promise.race([sent.then(() => 'over'), sleep(1000, 'hangs')])).toBe('over')
  job.retire()
})

test('a client who has gone before a write', async () => {
  const { job } = await opened()
  const { response } = forgetful()
  Object.assign(response, { closed: true })
  const sent = job.send(response as unknown as ServerResponse, { progress: false, first: true })
  await record(job, ANSWER)
  expect(await Promise.race([sent.then(() => 'over'), sleep(1000, 'hangs')])).toBe('over')
  job.retire()
})
