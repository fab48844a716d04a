/** What mirrors lack: one straight answer at a time, a full queue that empties, and mirrors that are in use. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { emptyRequest } from '../../njs/src/git/fetch-request.ts'
import { newFetchState, openFetchQueue } from '../../sidecar/src/fetch-queue.ts'
import { openFetches } from '../../sidecar/src/fetches.ts'
import { type GitLimit, gitLimit } from '../../sidecar/src/git-limit.ts'
import { createMetrics } from '../../sidecar/src/metrics.ts'
import { fetchRefs, initMirror, NAME_FILE } from '../../sidecar/src/mirror.ts'
import { placeOf } from '../../sidecar/src/mirror-places.ts'
import { fetchSource, gitBackend } from '../support/backend.ts'
import { makeRepository, oidOf, scratch } from '../support/git.ts'
import { listenForAll } from '../support/listen.ts'
import { assemble } from '../support/sidecar.ts'
import { oid } from '../support/wire.ts'

const work = scratch()
afterAll(work.remove)
const upstream = path.join(work.dir, 'upstream.git')
beforeAll(() => makeRepository(upstream))
let asked = 0
const backend = gitBackend(work.dir)
backend.on('request', ({ url }) => {
  if (url?.includes('info/refs')) asked += 1
})
const port = await listenForAll(backend)
const source = fetchSource(port, 'upstream.git')
const name = { upstream: 'http://u', vhost: '', repository: '/a', format: 'sha1' as const }
const on = { grown: () => {}, ended: () => {}, broken: () => {}, shallow: () => {} }

function open(limit: GitLimit) {
  const queue = openFetchQueue(limit, createMetrics({ git: '' }), on)
  return { queue, fetches: openFetches(limit, queue, on) }
}

test('of many checkouts at once of what a mirror lacks, upstream answers one itself', async () => {
  const dir = path.join(work.dir, 'straight.git')
  await initMirror('sha1', dir)
  const { fetches } = open(gitLimit(2, 100))
  const state = newFetchState(name, dir)
  let straight = 0
  const ask = async () => {
    straight += 1
    await sleep(100)
  }
  const checkout = (n: number) => ({
    ...emptyRequest(2),
    wants: [oid(n)],
    deepen: 'deepen 1',
    done: true,
  })
  const all = await Promise.all(
    [1, 2, 3, 4, 5].map((n) => fetches.straight(state, source, checkout(n), ask))
  )
  expect([straight, all.filter(Boolean).length]).toEqual([1, 1])
  // And the next one again.
  expect(await fetches.straight(state, source, checkout(6), ask)).toBe(true)
  if (state.refsTimer) clearTimeout(state.refsTimer)
})

test('what a mirror has is not asked of upstream, and refs come behind each time', async () => {
  const dir = path.join(work.dir, 'has.git')
  await initMirror('sha1', dir)
  expect((await fetchRefs(dir, source)).outcome).toBe('ok')
  const { fetches } = open(gitLimit(2, 100))
  const state = newFetchState(name, dir)
  const wants = [oidOf(upstream, 'main')]
  const request = { ...emptyRequest(2), wants, deepen: 'deepen 1', done: true }
  let straight = 0
  const ask = async () => {
    straight += 1
  }
  expect(await fetches.straight(state, source, request, ask)).toBe(false)
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  for (let i = 1; i <= 2; i++) {
    expect(await fetches.straight(state, source, { ...request, wants: [oid(i)] }, ask)).toBe(true)
    asked = 0
    await vi.advanceTimersByTimeAsync(30_000)
    vi.useRealTimers()
    await expect.poll(() => asked, { timeout: 10_000 }).toBe(1)
    await expect.poll(() => state.fetching, { timeout: 10_000 }).toBeNull()
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  }
  vi.useRealTimers()
  expect(straight).toBe(2)
})

test('a fetch for which there was no place is not the last of its mirror', async () => {
  const dir = path.join(work.dir, 'busy.git')
  await initMirror('sha1', dir)
  const limit = gitLimit(1, 0)
  const { queue } = open(limit)
  const state = newFetchState(name, dir)
  let release = () => {}
  const taken = limit.fetch(
    name.upstream,
    'others',
    () => new Promise<void>((resolve) => (release = resolve))
  )
  await expect(queue.shared(state, source, [])).rejects.toMatchObject({ reason: 'busy' })
  release()
  await taken
  await sleep(0)
  expect(await queue.shared(state, source, [])).toBe('ok')
  expect(oidOf(dir, 'main')).toBe(oidOf(upstream, 'main'))
  // Nothing of it is left: another fetch is another one.
  const before = asked
  expect(await queue.shared(state, source, [])).toBe('ok')
  expect(asked).toBe(before + 1)
})

async function mirrored(data: string) {
  const to = path.join(work.dir, data)
  const { dirs, mirrors } = assemble(`http://127.0.0.1:${port}`, to, { 'make-mirrors': ['never'] })
  const dir = placeOf(dirs, name)
  mkdirSync(path.dirname(dir), { recursive: true })
  await initMirror('sha1', dir)
  await fetchRefs(dir, source)
  writeFileSync(path.join(dir, NAME_FILE), JSON.stringify(name))
  expect(await mirrors.find(name)).toBe(dir)
  return { mirrors, dir }
}

test('a mirror that is in use is not evicted, and afterwards it is', async () => {
  const { mirrors, dir } = await mirrored('used')
  await mirrors.using(name, async () => {
    expect([await mirrors.remove(dir), existsSync(dir)]).toEqual([false, true])
  })
  expect([await mirrors.remove(dir), existsSync(dir)]).toEqual([true, false])
})

test('upkeep takes nothing away from a git that is running', async () => {
  const { mirrors, dir } = await mirrored('tended')
  const half = path.join(dir, 'objects/pack/tmp_pack_half')
  writeFileSync(half, 'x')
  await mirrors.using(name, () => mirrors.tend(dir, async () => {}))
  expect(existsSync(half)).toBe(true)
  await mirrors.tend(dir, async () => {})
  expect(existsSync(half)).toBe(false)
})

test('memory does not grow with the repositories that were ever asked for', async () => {
  const { mirrors } = await mirrored('many')
  const of = (i: number) => ({ ...name, repository: `/r${i}` })
  mirrors.setShallow(of(0))
  await expect(mirrors.find(of(0))).rejects.toMatchObject({ reason: 'shallow-upstream' })
  for (let i = 1; i <= 10_001; i++) mirrors.missed(of(i), source, 'key')
  expect(await mirrors.find(of(0))).toBeNull()
})
