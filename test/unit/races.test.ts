/** What runs into what: purge, upkeep, eviction and checks beside those who use the same. */
import { existsSync, mkdirSync, utimesSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { Writable } from 'node:stream'
import { setImmediate, setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { showChecked } from '../../sidecar/src/answer-check.ts'
import { openJobs } from '../../sidecar/src/jobs.ts'
import { fetchRefs, initMirror, type MirrorName, NAME_FILE } from '../../sidecar/src/mirror.ts'
import { placeOf } from '../../sidecar/src/mirror-places.ts'
import type { Mirrors } from '../../sidecar/src/mirrors.ts'
import { openStore, repositoryTag } from '../../sidecar/src/store.ts'
import { startUpkeep } from '../../sidecar/src/upkeep.ts'
import { fetchSource, gitBackend } from '../support/backend.ts'
import { makeRepository, scratch } from '../support/git.ts'
import { answerOf } from '../support/job.ts'
import { prepareLayout } from '../support/layout.ts'
import { listenForAll } from '../support/listen.ts'
import { assemble } from '../support/sidecar.ts'

const work = scratch()
afterAll(work.remove)
const upstream = path.join(work.dir, 'upstream.git')
beforeAll(() => makeRepository(upstream))
const port = await listenForAll(gitBackend(work.dir))
const DAY = 24 * 3600 * 1000

async function mirrored(dirs: ReturnType<typeof assemble>['dirs'], repository: string) {
  const name: MirrorName = { upstream: 'http://u', vhost: '', repository, format: 'sha1' }
  const dir = placeOf(dirs, name)
  mkdirSync(path.dirname(dir), { recursive: true })
  await initMirror('sha1', dir)
  await fetchRefs(dir, fetchSource(port, 'upstream.git'))
  writeFileSync(path.join(dir, NAME_FILE), JSON.stringify(name))
  return { name, dir }
}

test('upkeep takes nothing away from a git that begins just after it has looked', async () => {
  const { dirs, mirrors } = assemble(`http://127.0.0.1:${port}`, path.join(work.dir, 'tended'))
  const { name, dir } = await mirrored(dirs, '/a')
  expect(await mirrors.find(name)).toBe(dir)
  let taken = 0
  for (let i = 0; i < 200; i++) {
    const half = path.join(dir, 'objects/pack', `tmp_pack_${i}`)
    const tended = mirrors.tend(dir, async () => {})
    const until = performance.now() + (i % 20) / 5
    while (performance.now() < until) await setImmediate()
    await mirrors.using(name, async () => {
      writeFileSync(half, 'x')
      await tended
      // Its git would be running still.
      if (!existsSync(half)) taken += 1
    })
    await mirrors.tend(dir, async () => {})
    expect(existsSync(half)).toBe(false)
  }
  expect(taken).toBe(0)
}, 60_000)

test('a mirror that is used while upkeep is on its way there is not removed', async () => {
  const { dirs, mirrors, store, idle } = assemble('http://127.0.0.1:1', path.join(work.dir, 'old'))
  const [first, old] = [await mirrored(dirs, '/a'), await mirrored(dirs, '/b')]
  const longAgo = (Date.now() - 40 * DAY) / 1000
  utimesSync(path.join(old.dir, NAME_FILE), longAgo, longAgo)
  const tended: string[] = []
  const slow: Mirrors = {
    ...mirrors,
    sizes: async () => (await mirrors.sizes()).sort(({ dir }) => (dir === old.dir ? 1 : -1)),
    tend: async (dir) => {
      tended.push(dir)
      await mirrors.using(old.name, async () => {})
    },
  }
  const parts = { mirrors: slow, store, idle, faults: () => {}, keepMirrors: 30 * DAY }
  const upkeep = startUpkeep(parts)
  await upkeep.run()
  expect([tended, existsSync(old.dir)]).toEqual([[first.dir], true])
  await upkeep.run(Date.now() + 31 * DAY)
  upkeep.stop()
  expect(existsSync(old.dir)).toBe(false)
})

test('what is dropped while hidden answers are shown is dropped, and those of others are shown', async () => {
  const of = [repositoryTag('/a'), repositoryTag('/b')] as const
  for (let round = 0; round < 20; round++) {
    const dirs = prepareLayout(path.join(work.dir, `shown-${round}`))
    const keys = Array.from({ length: 48 }, (_, i) => ({
      key: (i % 12).toString(16).padStart(2, '0') + i.toString(16).padStart(62, '0'),
      tag: of[(i + (i >> 3)) % 2] as string,
    }))
    for (const { key, tag } of keys) {
      const shard = path.join(dirs.unchecked, key.slice(0, 2))
      mkdirSync(shard, { recursive: true })
      writeFileSync(path.join(shard, key), '000dpackfile\n0000')
      writeFileSync(path.join(shard, `${key}.${tag}`), '')
    }
    const store = openStore(dirs)
    store.shown = showChecked(dirs, () => {})
    await sleep(round)
    expect(await store.purge('/a')).toBe(24)
    for (const { key, tag } of keys) expect(existsSync(store.fileOf(key))).toBe(tag === of[1])
  }
}, 30_000)

async function onItsWay() {
  const store = openStore(prepareLayout(path.join(work.dir, 'purged')))
  const jobs = openJobs()
  const asked = { request: { family: 2 }, name: { repository: '/a' } } as never
  const job = jobs.open(asked, await store.create('/a'), false)
  const answer = answerOf(8, 60_000)
  async function* pieces() {
    for (let at = 0; at < answer.length; at += 65536) {
      yield answer.subarray(at, at + 65536)
      await sleep(20)
    }
  }
  const done = Promise.resolve({ code: 0, stderr: '' })
  const recorded = job.record({ stdout: pieces(), done, kill: () => {} }).catch((error) => error)
  return { jobs, job, recorded }
}

test('a purge of an answer on its way is no fault of the disk', async () => {
  const { jobs, job, recorded } = await onItsWay()
  await vi.waitFor(() => expect(job.size).toBeGreaterThan(0))
  jobs.abort('/a')
  expect(await recorded).toMatchObject({ reason: 'store' })
  expect(job.lost).toBeNull()
})

test('who takes nothing is cut off by a purge at once', async () => {
  const { jobs, job, recorded } = await onItsWay()
  const response = new Writable({ write: () => {} })
  const sent = job.send(response as never, { progress: false, first: true }).catch(() => {})
  await vi.waitFor(() => expect(response.writableLength).toBeGreaterThan(0))
  jobs.abort('/a')
  expect(response.destroyed).toBe(true)
  await Promise.all([recorded, sent])
})

test('two lives on one directory never write to one file', async () => {
  const dirs = prepareLayout(path.join(work.dir, 'two'))
  const life = async () => {
    vi.resetModules()
    const again = await import('../../sidecar/src/store.ts')
    return again.openStore(dirs)
  }
  const [one, other] = [await life(), await life()]
  const spool = await one.create('/public')
  const file = await other.create('/secret')
  await Promise.all([spool.handle.write('of one'), file.handle.write('of another')])
  const key = '1'.repeat(64)
  await spool.commit(key)
  await Promise.all([spool.handle.close(), file.abandon()])
  expect(existsSync(one.fileOf(key))).toBe(true)
})
