/**
 * A disk that gives EIO. There is no such disk to test with: a double of the file layer fails where
 * a real one would. Nobody gets a wrong answer, nothing is stored, and what was not begun is passed.
 */
import { mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, expect, test, vi } from 'vitest'
import { checkAll, openSuspects, showChecked } from '../../sidecar/src/answer-check.ts'
import type { FaultCode, Faults } from '../../sidecar/src/faults.ts'
import { Job } from '../../sidecar/src/job.ts'
import { openJobs } from '../../sidecar/src/jobs.ts'
import { createSidecarServer, type ServerParts } from '../../sidecar/src/server.ts'
import { openStore, repositoryTag } from '../../sidecar/src/store.ts'
import { scratch } from '../support/git.ts'
import { answerOf, reader, record, withFaults } from '../support/job.ts'
import { prepareLayout } from '../support/layout.ts'
import { listen } from '../support/listen.ts'

const work = scratch()
afterAll(work.remove)
const dirs = prepareLayout(path.join(work.dir, 'data'))
const store = openStore(dirs)
const KEY = 'a'.repeat(64)

function fail(): Promise<never> {
  return Promise.reject(Object.assign(new Error('i/o error'), { code: 'EIO' }))
}

test('a write fails: who reads gets all of it from memory', async () => {
  const answer = answerOf(30, 60_000)
  const job = new Job(2, withFaults(await store.create('/a'), { write: fail }), false)
  const client = reader(0)
  const sent = job.send(client.response, { progress: false, first: true })
  await record(job, answer)
  await sent
  expect(client.bytes().equals(answer)).toBe(true)
  expect(job.lost).toMatchObject({ code: 'EIO' })
  job.retire()
})

/** What a client of GET /stream sees where each read of the spool behind so many bytes fails. */
async function streamed(readable: number): Promise<{ status: number; bytes: number | null }> {
  const spool = await store.create('/a')
  const read: typeof spool.handle.read = async (...args: unknown[]) => {
    const position = args[3] as number
    return position >= readable
      ? fail()
      : (spool.handle.read as (...a: unknown[]) => never)(...args)
  }
  const job = new Job(2, withFaults(spool, { read }), false)
  await record(job, answerOf(30, 60_000))
  const jobs = openJobs()
  const seen = { id: '', upstream: 'http://u', repo: '/a', since: 0 }
  const id = jobs.admit({ job, seen, progress: false, result: 'miss' })
  const nothing = { decided: () => {}, sent: () => {} }
  const parts = { jobs, secret: '', requests: nothing, faults: () => {} } as unknown as ServerParts
  const server = createSidecarServer(parts)
  const port = await listen(server)
  try {
    const response = await fetch(`http://127.0.0.1:${port}/stream/${id}`)
    const body = await response.arrayBuffer().catch(() => null)
    return { status: response.status, bytes: body?.byteLength ?? null }
  } finally {
    server.close()
    server.closeAllConnections()
    job.retire()
  }
}

test('the spool cannot be read: nothing was said yet, so nginx passes', async () => {
  expect((await streamed(0)).status).toBe(500)
})

test('the spool cannot be read from somewhere on: the answer is cut, and never looks whole', async () => {
  expect(await streamed(200_000)).toEqual({ status: 200, bytes: null })
  expect(await streamed(Number.POSITIVE_INFINITY)).toEqual({
    status: 200,
    bytes: answerOf(30, 60_000).length,
  })
})

test('what cannot be synced is not stored', async () => {
  const spool = await store.create('/a')
  spool.handle.sync = fail
  await expect(spool.commit(KEY)).rejects.toMatchObject({ code: 'EIO' })
  expect(await store.has(KEY)).toBe(false)
  await spool.handle.close()
})

/** Reading address 0 of a process is an EIO of the kernel's own: proc_pid_mem(5). */
function putUnreadable(dir: string): void {
  const shard = path.join(dir, KEY.slice(0, 2))
  mkdirSync(shard, { recursive: true })
  symlinkSync('/proc/self/mem', path.join(shard, KEY))
  writeFileSync(path.join(shard, `${KEY}.${repositoryTag('/a')}`), '')
}

const LOOKS = [
  {
    name: 'after a crash',
    from: dirs.unchecked,
    look: (faults: Faults) => showChecked(dirs, faults),
  },
  {
    name: 'once in a life',
    from: dirs.packs,
    look: (faults: Faults) => checkAll(dirs, store, faults),
  },
  {
    name: 'when nginx could not send it all',
    from: dirs.packs,
    look: async (faults: Faults) => {
      openSuspects(dirs, store, faults)(KEY)
      await vi.waitFor(() => expect(answers()).toEqual([]))
    },
  },
]

function answers(): string[] {
  return [dirs.packs, dirs.unchecked]
    .flatMap((dir) => readdirSync(dir, { recursive: true, encoding: 'utf8' }))
    .filter((name) => name.endsWith(KEY))
}

test.each(LOOKS)('a stored answer that cannot be read is found $name', async ({ from, look }) => {
  putUnreadable(from)
  expect(answers()).toHaveLength(1)
  const said: FaultCode[] = []
  await look((code) => said.push(code))
  expect(answers()).toEqual([])
  expect(said).toEqual(['GITCACHE_PACK_DAMAGED'])
})
