/** What is removed when there is too much, and what is not. */
import { existsSync, mkdirSync, readdirSync, utimesSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { pino } from 'pino'
import { afterAll, expect, test, vi } from 'vitest'
import { openBudget } from '../../sidecar/src/budget.ts'
import { createMetrics } from '../../sidecar/src/metrics.ts'
import type { MirrorSize } from '../../sidecar/src/mirror-sizes.ts'
import type { Mirrors } from '../../sidecar/src/mirrors.ts'
import { openStore, repositoryTag } from '../../sidecar/src/store.ts'
import { scratch } from '../support/git.ts'
import { prepareLayout } from '../support/layout.ts'

/** A disk of 100,000 bytes, of which budget.ts keeps 5,000 free. */
const disk = vi.hoisted(() => ({ free: 0 }))
vi.mock('node:fs/promises', async (original) => ({
  ...(await original<typeof import('node:fs/promises')>()),
  statfs: async () => ({ bsize: 1, blocks: 100_000, bavail: disk.free }),
}))

const work = scratch()
afterAll(work.remove)

const TAG = repositoryTag('/a')
let serial = 0

/** A data directory with mirrors of these sizes; `busy` ones refuse to be removed. */
async function setUp(limit: number, mirrors: (MirrorSize & { busy?: boolean })[] = []) {
  serial += 1
  disk.free = 100_000
  const dirs = prepareLayout(path.join(work.dir, `data-${serial}`))
  let left = mirrors
  const fake = {
    sizes: async () => left,
    evict: async (dir: string) => {
      const busy = left.find((mirror) => mirror.dir === dir)?.busy === true
      if (!busy) left = left.filter((mirror) => mirror.dir !== dir)
      return !busy
    },
  } as unknown as Mirrors
  const store = openStore(dirs)
  const tooLarge: unknown[] = []
  const file = (n: number) => path.join(dirs.packs, key(n).slice(0, 2), key(n))
  return {
    /** A file of 1,000 bytes that was made so many seconds after 1970. */
    pack: (n: number, made: number) => {
      mkdirSync(path.dirname(file(n)), { recursive: true })
      for (const [name, bytes] of [
        [file(n), 1000],
        [`${file(n)}.${TAG}`, 0],
      ] as const) {
        writeFileSync(name, Buffer.alloc(bytes))
        utimesSync(name, made, made)
      }
    },
    store,
    tooLarge,
    tmp: dirs.tmp,
    open: () =>
      openBudget({
        dirs,
        store,
        mirrors: fake,
        log: pino({ level: 'silent' }),
        faults: (code, error, { repo } = {}) =>
          code === 'GITCACHE_TOO_LARGE' ? tooLarge.push(repo) : expect.fail(`${code}: ${error}`),
        metrics: createMetrics({ git: '' }),
        limit,
      }),
    packs: () => [1, 2, 3, 4, 5].filter((n) => existsSync(file(n))),
    mirrors: () => left.map(({ dir }) => dir),
  }
}

function key(n: number): string {
  return String(n).repeat(64)
}

test('within the budget nothing is removed', async () => {
  const data = await setUp(2000)
  for (const n of [1, 2]) data.pack(n, n)
  await data.open().enforce()
  expect(data.packs()).toEqual([1, 2])
})

test('what was never read again goes first, the oldest of it', async () => {
  const data = await setUp(3100)
  for (const n of [1, 2, 3, 4, 5]) data.pack(n, n)
  const budget = data.open()
  // The index is read from the directory first.
  await new Promise((resolve) => setTimeout(resolve, 100))
  budget.used(key(1))
  await budget.enforce()
  expect(data.packs()).toEqual([1, 4, 5])
})

test('then what was not used for longest, mirrors too, and none that is in use', async () => {
  const now = Date.now()
  const data = await setUp(1500, [
    { dir: 'old', bytes: 1000, used: 1 },
    { dir: 'busy', bytes: 1000, used: 0, busy: true },
    { dir: 'new', bytes: 400, used: now + 60_000 },
  ])
  for (const n of [1, 2]) data.pack(n, n)
  await data.open().enforce()
  expect(data.packs()).toEqual([])
  expect(data.mirrors()).toEqual(['busy', 'new'])
})

test('a new answer stays while old ones fill the cache that have been read again', async () => {
  const data = await setUp(3500)
  const budget = data.open()
  await budget.enforce()
  vi.useFakeTimers({ toFake: ['Date'] })
  for (const n of [1, 2, 3]) {
    data.pack(n, n)
    budget.stored(key(n), 1000, TAG)
    budget.used(key(n))
    vi.advanceTimersByTime(60_000)
  }
  data.pack(4, 4)
  budget.stored(key(4), 1000, TAG)
  await budget.enforce()
  expect(data.packs()).toEqual([2, 3, 4])
  // It has had its time, and more of it than is left to such.
  vi.advanceTimersByTime(60_000)
  data.pack(5, 5)
  budget.stored(key(5), 1000, TAG)
  await budget.enforce()
  vi.useRealTimers()
  expect(data.packs()).toEqual([2, 3, 5])
  budget.stop()
})

test('the newest that were not read again have a tenth', async () => {
  const data = await setUp(30_000, [{ dir: 'old', bytes: 28_000, used: 1 }])
  const budget = data.open()
  for (const n of [1, 2, 3, 4, 5]) data.pack(n, n)
  await budget.enforce()
  expect([data.packs(), data.mirrors()]).toEqual([[3, 4, 5], []])
  budget.stop()
})

test('what would take the place of all others is not stored', async () => {
  const data = await setUp(3000)
  // Also before it has looked at what is there.
  const budget = data.open()
  const put = async (n: number, bytes: number) => {
    const spool = await data.store.create('/a')
    await spool.handle.write(Buffer.alloc(bytes))
    await spool.commit(key(n))
    await spool.handle.close()
  }
  await put(1, 1500)
  await put(2, 1501)
  expect(data.packs()).toEqual([1])
  expect(data.tooLarge).toEqual(['/a'])
  expect(readdirSync(data.tmp)).toEqual([])
  budget.stop()
})

test('a hundredth more goes at once', async () => {
  const data = await setUp(4990)
  for (const n of [1, 2, 3, 4, 5]) data.pack(n, n)
  await data.open().enforce()
  expect(data.packs()).toEqual([2, 3, 4, 5])
  const exact = await setUp(4000)
  for (const n of [1, 2, 3, 4, 5]) exact.pack(n, n)
  await exact.open().enforce()
  expect(exact.packs()).toEqual([3, 4, 5])
})

test('an answer that is stored counts at once', async () => {
  const data = await setUp(1500)
  const budget = data.open()
  data.pack(1, 1)
  budget.stored(key(1), 1000, TAG)
  data.pack(2, 2)
  budget.stored(key(2), 1000, TAG)
  await budget.enforce()
  expect(data.packs()).toHaveLength(1)
})

test.each([
  { free: 5000, left: [1, 2, 3, 4] },
  { free: 4999, left: [2, 3, 4] },
  { free: 2900, left: [4] },
  { free: 0, left: [] },
])(
  'a twentieth of the disk stays free, whatever is allowed: of $free bytes, $left',
  async ({ free, left }) => {
    const data = await setUp(1e12)
    for (const n of [1, 2, 3, 4]) data.pack(n, n)
    disk.free = free
    await data.open().enforce()
    expect(data.packs()).toEqual(left)
  }
)

test('a disk that fills up while nothing is stored is seen within seconds', async () => {
  const data = await setUp(1e12)
  for (const n of [1, 2, 3, 4]) data.pack(n, n)
  vi.useFakeTimers({ toFake: ['setInterval'] })
  const budget = data.open()
  await budget.enforce()
  disk.free = 2900
  vi.advanceTimersByTime(10_000)
  vi.useRealTimers()
  await vi.waitFor(() => expect(data.packs()).toEqual([4]), { timeout: 5000 })
  budget.stop()
})

test('what was purged counts no more, and nothing goes in its place', async () => {
  const data = await setUp(3000)
  const budget = data.open()
  data.store.onRemoved = budget.removed
  for (const n of [1, 2, 3]) {
    data.pack(n, n)
    budget.stored(key(n), 1000, TAG)
  }
  expect(await data.store.purge('/a')).toBe(3)
  expect(budget.sizes().packs).toBe(0)
  for (const n of [4, 5]) {
    data.pack(n, n)
    budget.stored(key(n), 1000, TAG)
  }
  await budget.enforce()
  expect([data.packs(), budget.sizes().packs]).toEqual([[4, 5], 2000])
})
