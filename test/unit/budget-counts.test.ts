/** What counts against the budget: temporary files, mirrors as they grow, what could not be removed; and what is gone, no more. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { pino } from 'pino'
import { afterAll, afterEach, expect, test, vi } from 'vitest'
import { openBudget } from '../../sidecar/src/budget.ts'
import { createMetrics } from '../../sidecar/src/metrics.ts'
import type { MirrorSize } from '../../sidecar/src/mirror-sizes.ts'
import type { Mirrors } from '../../sidecar/src/mirrors.ts'
import { openStore, repositoryTag } from '../../sidecar/src/store.ts'
import { scratch } from '../support/git.ts'
import { prepareLayout } from '../support/layout.ts'

vi.mock('node:fs/promises', async (original) => ({
  ...(await original<typeof import('node:fs/promises')>()),
  statfs: async () => ({ bsize: 1, blocks: 100_000, bavail: 100_000 }),
}))
const work = scratch()
afterAll(work.remove)
afterEach(() => void vi.restoreAllMocks())
const TAG = repositoryTag('/a')
const key = (n: number) => String(n).repeat(64)
let serial = 0

async function setUp(limit: number, left: MirrorSize[] = []) {
  serial += 1
  const dirs = prepareLayout(path.join(work.dir, `data-${serial}`))
  const mirrors = {
    sizes: async () => [...left],
    evict: async (dir: string) => {
      left.splice(
        left.findIndex((one) => one.dir === dir),
        1
      )
      return true
    },
  } as unknown as Mirrors
  const store = openStore(dirs)
  const faults: string[] = []
  const budget = openBudget({
    dirs,
    store,
    mirrors,
    log: pino({ level: 'silent' }),
    faults: (code) => void faults.push(code),
    metrics: createMetrics({ git: '' }),
    limit,
  })
  await budget.enforce()
  budget.stop()
  const put = async (n: number) => {
    const dir = path.join(dirs.packs, key(n).slice(0, 2))
    mkdirSync(dir, { recursive: true })
    writeFileSync(path.join(dir, key(n)), Buffer.alloc(1000))
    writeFileSync(path.join(dir, `${key(n)}.${TAG}`), '')
    budget.stored(key(n), 1000, TAG)
    await budget.enforce()
  }
  const packs = () => [1, 2, 3].filter((n) => existsSync(store.fileOf(key(n))))
  /** A minute, after which all is measured anew. */
  const later = async () => {
    const now = performance.now()
    vi.spyOn(performance, 'now').mockReturnValue(now + 61_000)
    await budget.enforce()
  }
  return { dirs, store, budget, put, packs, later, left, faults }
}

test('temporary files count', async () => {
  const data = await setUp(1500)
  await data.put(1)
  writeFileSync(path.join(data.dirs.tmp, 'spool-1'), Buffer.alloc(1000))
  await data.later()
  expect(data.packs()).toEqual([])
})

test('mirrors are measured again, and count as they are then', async () => {
  const left: MirrorSize[] = []
  const data = await setUp(1500, left)
  left.push({ dir: 'new', bytes: 2000, used: 1 })
  await data.later()
  expect(left).toEqual([])
})

test('a mirror that is gone counts no more: nothing goes in its place', async () => {
  const data = await setUp(1500, [{ dir: 'old', bytes: 2000, used: 1 }])
  expect(data.left).toEqual([])
  await data.put(1)
  expect(data.packs()).toEqual([1])
})

test('what cannot be removed counts on, and another goes', async () => {
  const data = await setUp(2500)
  await data.put(1)
  await data.put(2)
  const remove = data.store.remove
  data.store.remove = (one, tag) =>
    one === key(1) ? Promise.reject(new Error('EBUSY')) : remove(one, tag)
  await data.put(3)
  expect([data.packs(), data.faults]).toEqual([[1, 3], ['GITCACHE_EVICT']])
})
