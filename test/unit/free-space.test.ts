/** Of the file system a twentieth stays free, whatever --cache-size allows. */
import { existsSync } from 'node:fs'
import path from 'node:path'
import { pino } from 'pino'
import { afterAll, expect, test, vi } from 'vitest'
import { openBudget } from '../../sidecar/src/budget.ts'
import { prepareLayout } from '../../sidecar/src/layout.ts'
import { createMetrics } from '../../sidecar/src/metrics.ts'
import type { Mirrors } from '../../sidecar/src/mirrors.ts'
import { openStore } from '../../sidecar/src/store.ts'
import { scratch } from '../support/git.ts'

/** A disk of 100,000 bytes: 5,000 are to stay free. */
const disk = vi.hoisted(() => ({ free: 0 }))
vi.mock('node:fs/promises', async (original) => ({
  ...(await original<typeof import('node:fs/promises')>()),
  statfs: async () => ({ bsize: 1, blocks: 100_000, bavail: disk.free }),
}))

const work = scratch()
afterAll(work.remove)

test.each([
  { free: 5000, left: [1, 2, 3, 4] },
  { free: 4999, left: [2, 3, 4] },
  { free: 2900, left: [4] },
  { free: 0, left: [] },
])('$free bytes are free: $left stay', async ({ free, left }) => {
  const dirs = await prepareLayout(path.join(work.dir, `data-${free}`))
  const store = openStore(dirs)
  const keys = [1, 2, 3, 4].map((n) => String(n).repeat(64))
  for (const key of keys) {
    const spool = await store.create('/a')
    await spool.handle.write(Buffer.alloc(1000))
    await spool.commit(key)
    await spool.handle.close()
  }
  disk.free = free
  const budget = openBudget({
    dirs,
    store,
    mirrors: { sizes: async () => [] } as unknown as Mirrors,
    log: pino({ level: 'silent' }),
    faults: (code, error) => expect.fail(`${code}: ${error}`),
    metrics: createMetrics({ git: '' }),
    limit: 1e12,
    ready: Promise.resolve(),
  })
  await budget.enforce()
  budget.stop()
  const kept = keys.filter((key) => existsSync(path.join(dirs.packs, key.slice(0, 2), key)))
  expect(kept.map((key) => Number(key[0]))).toEqual(left)
})
