/**
 * A cache that is much smaller than what is asked of it: answers and mirrors go while they are read,
 * made and asked for, and no client sees anything of it.
 */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Pair, startPair } from '../support/pair.ts'
import { BIG, cloneState, copyOf, DIRECT, oidOf } from '../support/repositories.ts'
import { logs, results, uniqueId } from '../support/servers.ts'
import { onOneNginx } from '../support/versions.ts'
import { type Answer, ask, fetchV2 } from '../support/wire.ts'

/** Answers of 300 kB, each with a mirror of as much: a few of them have room. */
const ROOM = 1_500_000
const CACHE = ['--cache-size', String(ROOM), '--make-mirrors', 'always']
const REPOSITORIES = 8
const ROUNDS = 3
const CLONES = ['--mirror', '--bare --depth 1 --no-tags', '--mirror']

onOneNginx((suite) => {
  let pair: Pair
  let repositories: string[] = []

  beforeAll(async () => {
    pair = await startPair({
      name: uniqueId('evicts'),
      suite,
      args: CACHE,
      http: 'map $http_x_slow $slow { "" 0; default 30k; }',
      server: 'limit_rate $slow;',
    })
    repositories = await Promise.all(
      Array.from({ length: REPOSITORIES }, () => copyOf('small', BIG))
    )
  })
  afterAll(() => pair.stop())

  const run = (origin: string, repository: string, options: string) =>
    cloneState(suite, origin, repository, options, pair.log)
  const evicted = () => pair.logged().filter(({ msg }) => msg === 'evicted').length
  const faults = () => pair.logged().filter(({ code }) => code !== undefined)
  const answers = () =>
    readdirSync(`${pair.dataHere}/packs`, { recursive: true, encoding: 'utf8' })
      .filter((file) => /(^|\/)[0-9a-f]{64}$/.test(file))
      .map((file) => `${pair.dataHere}/packs/${file}`)

  const how = ({ id }: Answer) => results(suite, id, pair.log).join()

  test('clones of more than there is room for are those of upstream, each of them', async () => {
    const rows = repositories.flatMap((repository) =>
      CLONES.map((options) => ({ repository, options }))
    )
    const direct = await Promise.all(
      rows.map(({ repository, options }) => run(DIRECT, repository, options))
    )
    const said: string[] = []
    for (let round = 0; round < ROUNDS; round++) {
      const cached = await Promise.all(
        rows.map(({ repository, options }) => run(pair.url, repository, options))
      )
      cached.forEach((one, i) => {
        expect([one.code, one.out], `${one.how} ${logs()}`).toEqual([0, direct[i]?.out])
      })
      said.push(...cached.map((one) => one.how))
    }
    expect(evicted()).toBeGreaterThan(ROUNDS)
    expect(said).toContain('miss')
    expect(said.some((one) => one === 'hit' || one === 'join')).toBe(true)
    expect(
      said.filter((one) => one === ''),
      'a clone that never asked nginx'
    ).toEqual([])
    expect(faults()).toEqual([])
  })

  test('an answer that goes while it is read is read to its end', async () => {
    const [first = '', ...others] = repositories
    const body = fetchV2('ofs-delta', `want ${await oidOf(first, 'big')}`, 'done')
    const request = { path: `/pub/${first}/git-upload-pack`, body }
    let whole = await ask(suite, pair.url, request)
    for (let i = 0; i < 50 && how(whole) !== 'hit'; i++) {
      await sleep(100)
      whole = await ask(suite, pair.url, request)
    }
    expect([whole.code, how(whole)]).toEqual([0, 'hit'])
    const stored = answers().find((file) => readFileSync(file).equals(whole.body)) ?? ''
    let isRead = false
    const slow = ask(suite, pair.url, { ...request, headers: ['X-Slow: yes'] }).finally(() => {
      isRead = true
    })
    await expect
      .poll(
        async () => {
          await Promise.all(others.map((other) => run(pair.url, other, '--mirror')))
          return existsSync(stored)
        },
        { timeout: 8000 }
      )
      .toBe(false)
    expect(isRead, 'it was read before it went').toBe(false)
    const answer = await slow
    expect([answer.code, answer.status, how(answer)]).toEqual([0, 200, 'hit'])
    expect(answer.body.equals(whole.body)).toBe(true)
  })

  test('at rest what is stored has room', async () => {
    const bytes = () => answers().reduce((sum, file) => sum + statSync(file).size, 0)
    await expect.poll(bytes, { timeout: 15_000 }).toBeLessThan(ROOM)
  })
})
