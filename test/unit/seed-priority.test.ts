/** At which priority git looks at upstream's answers, on the cores that clients work on. */
import path from 'node:path'
import { afterAll, expect, test, vi } from 'vitest'
import { gitBackend } from '../support/backend.ts'
import { makeRepository, oidOf, scratch } from '../support/git.ts'
import { listenForAll } from '../support/listen.ts'
import { assemble, orderFor } from '../support/sidecar.ts'
import { v2 } from '../support/wire.ts'

const indexed = vi.hoisted(() => [] as { whole: boolean; idle: boolean }[])
vi.mock('../../sidecar/src/mirror.ts', async (original) => {
  const real = await original<typeof import('../../sidecar/src/mirror.ts')>()
  const indexPack: typeof real.indexPack = (dir, pack, how) => {
    indexed.push(how)
    return real.indexPack(dir, pack, how)
  }
  return { ...real, indexPack }
})

const work = scratch()
afterAll(work.remove)
const repository = path.join(work.dir, 'upstream.git')
makeRepository(repository)
const port = await listenForAll(gitBackend(work.dir))

test('a clone that becomes the mirror is indexed idle, however many wait for it', async () => {
  const { answers } = assemble(`http://127.0.0.1:${port}`, path.join(work.dir, 'data'))
  const body = v2([`want ${oidOf(repository, 'main')}`, 'done'])
  const all = await Promise.all(
    Array.from({ length: 10 }, () => answers.prepare(orderFor(body, null, '/upstream.git'), {}))
  )
  expect(all.filter(({ state }) => state === 'stream' || state === 'ready')).toHaveLength(10)
  await vi.waitFor(() => expect(indexed).toEqual([{ whole: true, idle: true }]))
})
