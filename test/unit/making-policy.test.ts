/** --make-mirrors: after which misses a mirror is made. */
import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { afterAll, afterEach, beforeEach, expect, test, vi } from 'vitest'
import { newFetchState } from '../../sidecar/src/fetches.ts'
import { newMakingState, openMakings, type WhenToMake } from '../../sidecar/src/makings.ts'
import { openSoundness } from '../../sidecar/src/soundness.ts'
import { scratch } from '../support/git.ts'
import { prepareLayout } from '../support/layout.ts'

const work = scratch()
afterAll(work.remove)
beforeEach(() => void vi.useFakeTimers({ toFake: ['Date'] }))
afterEach(() => void vi.useRealTimers())

const HOUR = 3600 * 1000
const NAME = { upstream: 'http://u', vhost: '', repository: '/a', format: 'sha1' as const }
const SOURCE = { url: 'http://127.0.0.1:1/a.git', env: {}, beginWithin: 9000, stallAfter: 9000 }

test.each<[when: WhenToMake, misses: [hours: number, key: string][], made: boolean]>([
  ['always', [[0, 'a']], true],
  [
    'never',
    [
      [0, 'a'],
      [1, 'b'],
      [2, 'c'],
    ],
    false,
  ],
  ['second-miss', [[0, 'a']], false],
  [
    'second-miss',
    [
      [0, 'a'],
      [1, 'a'],
      [2, 'a'],
    ],
    false,
  ],
  [
    'second-miss',
    [
      [0, 'a'],
      [23, 'b'],
    ],
    true,
  ],
  [
    'second-miss',
    [
      [0, 'a'],
      [25, 'b'],
    ],
    false,
  ],
  [
    'second-miss',
    [
      [0, 'a'],
      [23, 'a'],
      [25, 'b'],
    ],
    true,
  ],
])('%s: %j', async (whenToMake, misses, made) => {
  const dirs = prepareLayout(path.join(work.dir, `${whenToMake}-${misses.join('-')}`))
  mkdirSync(dirs.mirrors, { recursive: true })
  let fetches = 0
  const makings = openMakings({
    dirs,
    whenToMake,
    measured: async () => {
      fetches += 1
      return 'ok'
    },
    soundness: openSoundness(dirs, () => {}),
    faults: () => {},
    made: () => {},
    shallow: () => {},
  })
  const state = newMakingState(newFetchState(NAME, path.join(dirs.mirrors, 'm.git')))
  const begun = Date.now()
  for (const [i, [hours, key]] of misses.entries()) {
    vi.setSystemTime(begun + hours * HOUR)
    makings.missed(state, SOURCE, key)
    const isLast = i === misses.length - 1
    expect(state.queued).toBe(made && isLast)
  }
  await vi.waitFor(() => expect([state.queued, state.making]).toEqual([false, null]))
  expect(fetches).toBe(made ? 1 : 0)
})
