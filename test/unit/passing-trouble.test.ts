/** Passing troubles of the machine do not last, and what fails leaves nothing behind. */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:http'
import path from 'node:path'
import { setImmediate, setTimeout as sleep } from 'node:timers/promises'
import { afterAll, expect, test, vi } from 'vitest'
import { emptyRequest } from '../../njs/src/git/fetch-request.ts'
import { hideAfterBoot, isIntact } from '../../sidecar/src/answer-check.ts'
import { openConfirm } from '../../sidecar/src/confirm.ts'
import { refuseIfInUse, takeControl } from '../../sidecar/src/control.ts'
import type { Faults } from '../../sidecar/src/faults.ts'
import { newFetchState } from '../../sidecar/src/fetch-queue.ts'
import { Job } from '../../sidecar/src/job.ts'
import { newMakingState, openMakings } from '../../sidecar/src/makings.ts'
import { initMirror, NAME_FILE } from '../../sidecar/src/mirror.ts'
import { openSoundness } from '../../sidecar/src/soundness.ts'
import { openStore, repositoryTag } from '../../sidecar/src/store.ts'
import { scratch } from '../support/git.ts'
import { answerOf, record, withFaults } from '../support/job.ts'
import { prepareLayout } from '../support/layout.ts'
import { listenForAll } from '../support/listen.ts'
import { oid } from '../support/wire.ts'

/** Errors of the file layer and of git, told by the tests. */
const trouble = vi.hoisted(() => ({ open: '', index: '' }))
vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>()
  const open: typeof real.open = (...args) =>
    trouble.open === ''
      ? real.open(...args)
      : Promise.reject(Object.assign(new Error(trouble.open), { code: trouble.open }))
  return { ...real, open }
})
vi.mock('../../sidecar/src/mirror.ts', async (original) => {
  const real = await original<typeof import('../../sidecar/src/mirror.ts')>()
  const indexPack: typeof real.indexPack = async (dir, pack, how) =>
    trouble.index === '' ? real.indexPack(dir, pack, how) : 'unknown'
  return { ...real, indexPack }
})

const work = scratch()
afterAll(work.remove)
let count = 0
function setUp() {
  count += 1
  const dirs = prepareLayout(path.join(work.dir, `data-${count}`))
  return { dirs, store: openStore(dirs) }
}
const name = { upstream: 'http://u', vhost: '', repository: '/a', format: 'sha1' as const }
const KEY = 'c'.repeat(64)
const none = (() => {}) as Faults
const request = { ...emptyRequest(2), wants: [oid(1)], deepen: 'deepen 1', done: true }

test('what nobody writes or reads holds no descriptor, and what is stored is nobody else to read', async () => {
  const { store, dirs } = setUp()
  const spool = await store.create('/a')
  await spool.abandon()
  expect([spool.handle.fd, readdirSync(dirs.tmp)]).toEqual([-1, []])
  const kept = await store.create('/a')
  await kept.handle.write('x')
  await kept.commit(KEY)
  expect(statSync(store.fileOf(KEY)).mode & 0o007).toBe(0)
  await kept.handle.close()
})

test('a mirror that could not be checked once is checked again', async () => {
  const { dirs } = setUp()
  const soundness = openSoundness(dirs, none)
  const dir = path.join(dirs.mirrors, 'a.git')
  await initMirror('sha1', dir)
  mkdirSync(path.join(dir, NAME_FILE))
  await expect(soundness.of(name, dir)).rejects.toMatchObject({ reason: 'store' })
  rmSync(path.join(dir, NAME_FILE), { recursive: true })
  writeFileSync(path.join(dir, NAME_FILE), JSON.stringify(name))
  expect(await soundness.of(name, dir)).toBe(true)
})

test('marks that could not be written do not count', async () => {
  const { dirs, store } = setUp()
  const confirm = openConfirm(dirs, store, none, () => {})
  renameSync(dirs.unconfirmed, `${dirs.unconfirmed}.away`)
  for (let i = 0; i < 1000; i++) {
    const key = i.toString(16).padStart(64, '0')
    await expect(confirm.mark({ key, name, request, tags: [] })).rejects.toMatchObject({
      code: 'ENOENT',
    })
  }
  renameSync(`${dirs.unconfirmed}.away`, dirs.unconfirmed)
  expect(await confirm.mark({ key: KEY, name, request, tags: [] })).toBe(true)
})

test('an answer at which git could not look is looked at again, and nothing is left of either', async () => {
  const { dirs, store } = setUp()
  const spool = await store.create('/a')
  await spool.handle.write(answerOf(1, 100))
  await spool.commit(KEY)
  await spool.handle.close()
  const said: string[] = []
  const faults = ((code: string) => void said.push(code)) as Faults
  const confirm = openConfirm(dirs, store, faults, () => {}, { later: 10, again: 50 })
  await confirm.mark({ key: KEY, name, request, tags: [] })
  trouble.index = 'ENOMEM'
  confirm.later({ key: KEY, name })
  await sleep(400)
  expect([readdirSync(dirs.unconfirmed).length, await store.has(KEY), said]).toEqual([1, true, []])
  trouble.index = ''
  await expect.poll(() => readdirSync(dirs.unconfirmed)).toEqual([])
  // It is no pack.
  expect([await store.has(KEY), said]).toEqual([false, ['GITCACHE_UPSTREAM_DAMAGED']])
  await expect.poll(() => readdirSync(dirs.tmp)).toEqual([])
})

test.each([
  ['EMFILE', true],
  ['ENOMEM', true],
  ['EIO', false],
])(
  'a stored answer that cannot be opened for %s: whole as far as we know: %s',
  async (code, whole) => {
    const file = path.join(work.dir, 'answer')
    writeFileSync(file, 'no answer')
    trouble.open = code
    const is = await isIntact(file)
    trouble.open = ''
    expect(is).toBe(whole)
  }
)

test('what cannot be hidden after a crash goes', async () => {
  const { dirs } = setUp()
  const shard = path.join(dirs.packs, 'cc')
  mkdirSync(shard)
  writeFileSync(path.join(shard, KEY), 'half of it')
  writeFileSync(path.join(shard, `${KEY}.${repositoryTag('/a')}`), '')
  writeFileSync(path.join(dirs.sidecar, 'boot'), 'another start of the machine')
  rmSync(dirs.unchecked, { recursive: true })
  writeFileSync(dirs.unchecked, 'in the way')
  await hideAfterBoot(dirs, none)
  expect(existsSync(path.join(shard, KEY))).toBe(false)
})

test('what the disk did not take and nobody reads is not kept in memory without end', async () => {
  const { store } = setUp()
  const full = () => Promise.reject(Object.assign(new Error('no space'), { code: 'ENOSPC' }))
  const job = new Job(2, withFaults(await store.create('/a'), { write: full }), true)
  await expect(record(job, answerOf(200, 60_000))).rejects.toMatchObject({ reason: 'store' })
  expect(job.size).toBeLessThan(6 * 1024 * 1024)
  job.retire()
}, 40_000)

test('two that start at once on what a killed life has left: one has it', async () => {
  const data = path.join(work.dir, 'control')
  const first = await takeControl(data)
  const lock = path.join(data, 'sidecar', 'lock')
  // As after a SIGKILL: the name is there, and nobody listens.
  renameSync(lock, `${lock}.kept`)
  first.close()
  renameSync(`${lock}.kept`, lock)
  const both = await Promise.allSettled([takeControl(data), takeControl(data)])
  expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
  const [control] = both.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
  let purges = 0
  control?.serve(async () => {
    purges += 1
    return { answers: 0, mirrors: 0, cut: 0 }
  })
  // Who asks whether it is in use purges nothing.
  await expect(refuseIfInUse(data)).rejects.toMatchObject({ code: 'GITCACHE_LOCKED' })
  expect(purges).toBe(0)
  control?.close()
})

let asked = 0
const server = createServer((_, response) => {
  asked += 1
  setTimeout(() => response.writeHead(403).end(), 200)
})
const port = await listenForAll(server)

test('a mirror is made once at a time, and not again at once where that fails', async () => {
  const { dirs } = setUp()
  const makings = openMakings({
    dirs,
    whenToMake: 'always',
    measured: async (_, __, ___, fetch) => (await fetch()).outcome,
    soundness: openSoundness(dirs, none),
    faults: none,
    made: () => {},
    shallow: () => {},
  })
  const state = newMakingState(newFetchState(name, path.join(dirs.mirrors, 'm.git')))
  const url = `http://127.0.0.1:${port}/a.git`
  const source = { url, env: {}, beginWithin: 9000, stallAfter: 9000 }
  // Also while it is looked whether the first is needed.
  for (let i = 0; i < 100; i++) {
    makings.missed(state, source, `${i}`)
    await setImmediate()
  }
  expect(state.misses.size).toBeLessThanOrEqual(16)
  await expect.poll(() => state.making, { interval: 1 }).toBe('failed')
  await sleep(700)
  const once = asked
  makings.missed(state, source, 'x')
  expect(state.making).toBeNull()
  expect(once).toBe(1)
  expect(readdirSync(dirs.tmp)).toEqual([])
  // Of a clone that did not come nothing is put off.
  state.notBefore = 0
  makings.adopt(state, source)?.(null)
  await sleep(10)
  expect([state.making, state.notBefore]).toEqual([null, 0])
})
