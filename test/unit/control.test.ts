/** What `purge` is told by the sidecar. */
import path from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { type Control, type Purge, purgeBySidecar, takeControl } from '../../sidecar/src/control.ts'
import { scratch } from '../support/git.ts'

const work = scratch()
afterAll(work.remove)

let count = 0
async function withSidecar(act: (data: string, control: Control) => Promise<void>): Promise<void> {
  count += 1
  const data = path.join(work.dir, `data-${count}`)
  const control = await takeControl(data)
  try {
    await act(data, control)
  } finally {
    control.close()
  }
}

test('what was removed', async () => {
  await withSidecar(async (data, control) => {
    const all = { answers: 2, mirrors: 1, cut: 0 }
    const purge: Purge = async (repository) => ({ ...all, cut: repository.length })
    control.serve(purge)
    expect(await purgeBySidecar(data, '/a')).toEqual({ ...all, cut: 2 })
  })
})

test('a purge that fails says why, and what to do', async () => {
  await withSidecar(async (data, control) => {
    control.serve(() => Promise.reject(new Error('EMFILE: too many open files')))
    await expect(purgeBySidecar(data, '/a')).rejects.toMatchObject({
      code: 'GITCACHE_EVICT',
      message: expect.stringMatching(/not all was purged: .*EMFILE/),
    })
  })
})

test('a sidecar that is only starting', async () => {
  await withSidecar(async (data) => {
    await expect(purgeBySidecar(data, '/a')).rejects.toMatchObject({ code: 'GITCACHE_BUSY' })
  })
})

test('no sidecar', async () => {
  expect(await purgeBySidecar(path.join(work.dir, 'none'), '/a')).toBeNull()
})
