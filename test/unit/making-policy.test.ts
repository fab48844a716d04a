/** --make-mirrors: after which misses a mirror is made. */
import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { afterAll, afterEach, beforeEach, expect, test, vi } from 'vitest'
import { newFetchState } from '../../sidecar/src/fetch-queue.ts'
import { newMakingState, openMakings, type WhenToMake } from '../../sidecar/src/makings.ts'
import type { FetchOutcome } from '../../sidecar/src/mirror.ts'
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

let count = 0
function setUp(whenToMake: WhenToMake, measured: () => Promise<FetchOutcome>) {
  count += 1
  const dirs = prepareLayout(path.join(work.dir, `data-${count}`))
  mkdirSync(dirs.mirrors, { recursive: true })
  const makings = openMakings({
    dirs,
    whenToMake,
    measured,
    soundness: openSoundness(dirs, () => {}),
    faults: () => {},
    made: () => {},
    shallow: () => {},
  })
  const state = newMakingState(newFetchState(NAME, path.join(dirs.mirrors, 'm.git')))
  return { makings, state }
}

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
  let fetches = 0
  const { makings, state } = setUp(whenToMake, async () => {
    fetches += 1
    return 'ok'
  })
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

test('a mirror that cannot be made is tried again after 5 s, and after each failure twice as long', async () => {
  const begun = Date.now()
  const tries: number[] = []
  let outcome: FetchOutcome = 'failed'
  const { makings, state } = setUp('always', async () => {
    tries.push(Math.floor((Date.now() - begun) / 1000))
    return outcome
  })
  const missAt = async (seconds: number) => {
    vi.setSystemTime(begun + seconds * 1000)
    makings.missed(state, SOURCE, 'a')
    await vi.waitFor(() => expect([state.queued, state.making]).toEqual([false, null]))
  }
  for (const seconds of [0, 4, 6, 14, 17, 34, 38]) await missAt(seconds)
  expect(tries).toEqual([0, 6, 17, 38])
  for (let hour = 1; hour < 12; hour++) await missAt(hour * 3601)
  const before = tries.length
  await missAt(12 * 3601)
  expect(tries.length).toBe(before + 1)
  outcome = 'ok'
  await missAt(13 * 3601)
  expect([state.failures, state.notBefore]).toEqual([0, 0])
})
