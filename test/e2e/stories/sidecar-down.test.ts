/**
 * The sidecar is killed, or hangs: what is stored is still given, everything else passes, no git
 * operation fails, and when it is back it goes on as before.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { docker } from '../support/docker.ts'
import {
  cacheOf,
  cloneState,
  DIRECT,
  makeRepository,
  onUpstream,
  warmUp,
} from '../support/repositories.ts'
import { client, must, stack, uniqueId } from '../support/servers.ts'

/** One suite: while it runs, that sidecar is of no use to anyone else. */
const SUITE = 'sid'
const V0_DEPTH = /^pass; reason=v0-no-done,hit$/

/** main.git has enough branches that git compresses its wants. */
const WARM = [
  { name: 'clone', options: '', repository: 'main.git', how: /^hit$/ },
  { name: 'clone --depth 1', options: '--depth 1', repository: 'main.git', how: /^hit$/ },
  { name: 'clone --bare, small', options: '--bare', repository: 'small.git', how: /^hit$/ },
  {
    name: 'clone, v0',
    options: '-c protocol.version=0',
    repository: 'main.git',
    how: /^hit$/,
  },
  {
    name: 'clone --depth 1, v0',
    options: '-c protocol.version=0 --depth 1',
    repository: 'main.git',
    how: V0_DEPTH,
  },
]

const DOWN = [
  { name: 'killed', take: ['kill'], bring: ['start'], seconds: 10 },
  { name: 'paused', take: ['pause'], bring: ['unpause'], seconds: 15 },
]

describe.skipIf(stack().sidecar[SUITE] === undefined)('the sidecar', () => {
  const sidecar = stack().sidecar[SUITE] as string
  const cache = cacheOf(SUITE)
  let fresh = ''

  async function clone(origin: string, options: string, repository: string) {
    const started = Date.now()
    const cloned = await cloneState(SUITE, origin, repository, options)
    return { ...cloned, seconds: (Date.now() - started) / 1000 }
  }

  async function sameAsDirect(options: string, repository: string) {
    const direct = await clone(DIRECT, options, repository)
    const cached = await clone(cache, options, repository)
    expect([cached.code, cached.out]).toEqual([direct.code, direct.out])
    expect(cached.code).toBe(0)
    return cached
  }

  async function allHits() {
    for (const { name, options, repository, how } of WARM) {
      const cached = await sameAsDirect(options, repository)
      expect(cached.how, name).toMatch(how)
      expect(cached.seconds, name).toBeLessThan(10)
    }
  }

  beforeAll(async () => {
    fresh = await makeRepository('down', 'commit main one; commit main two')
    for (const repository of ['main.git', 'small.git', fresh])
      await warmUp(SUITE, `/pub/${repository}`)
    for (const { options, repository } of WARM) await clone(cache, options, repository)
  })

  afterAll(async () => {
    const up = await docker(['inspect', '-f', '{{.State.Running}} {{.State.Paused}}', sidecar])
    expect(up).toBe('true false')
  })

  test('up: warm requests are hits', allHits)

  test('as PID 1 it reaps what killed processes leave', async () => {
    // Whose parent is gone belongs to PID 1: without a wait there it stays a zombie.
    await must(sidecar, `(sleep 0.2 &); (sleep 0.3 &); (sh -c 'kill -9 $$' &); sleep 1`)
    const zombies = await must(sidecar, 'grep -lE "^[0-9]+ \\(.*\\) Z" /proc/[0-9]*/stat | wc -l')
    expect(zombies).toBe('0')
    const first = await must(sidecar, "tr '\\0' ' ' < /proc/1/cmdline")
    expect(first).toContain('nginx-git-cache serve')
  })

  test.each(DOWN)(
    '$name: hits are hits, all else passes, until it is back',
    async ({ take, bring, ...row }) => {
      await docker([...take, sidecar])
      try {
        await allHits()
        const commit = uniqueId('while-down')
        await onUpstream(fresh, `commit main ${commit}`)
        const miss = await sameAsDirect('', fresh)
        console.log(`${row.name}: a miss takes ${miss.seconds.toFixed(1)} s`)
        expect(miss.how).toBe('pass; reason=sidecar')
        expect(miss.seconds).toBeLessThan(row.seconds)
        const refs = await must(client(SUITE), `git ls-remote ${cache}/pub/${fresh}`)
        expect(refs).toBe(await must(client(SUITE), `git ls-remote ${DIRECT}/pub/${fresh}`))
      } finally {
        await docker([...bring, sidecar])
      }
      // Back: misses are answered and stored again. Only then may the next row take it away.
      await onUpstream(fresh, `commit main ${uniqueId('back')}`)
      await warmUp(SUITE, `/pub/${fresh}`)
      await allHits()
    }
  )
})
