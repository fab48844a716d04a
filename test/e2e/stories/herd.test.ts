/** A hundred clients in the same second: one pack, made upstream or here, and each gets the whole of it. */
import { expect, test } from 'vitest'
import { through } from '../support/cell.ts'
import { startPair } from '../support/pair.ts'
import { BIG, copyOf, onUpstream, warmUp } from '../support/repositories.ts'
import {
  client,
  dataOf,
  linesOf,
  logs,
  must,
  packsMade,
  results,
  uniqueId,
  untilMirrored,
} from '../support/servers.ts'
import type { Suite } from '../support/stack.ts'
import { onEachNginx } from '../support/versions.ts'

interface Herd {
  /** Distinct states of the clones with how many have each: `100 <exit> <hash>`. */
  states: string[]
  how: Record<string, number>
  packs: number
  id: string
}

/** A client that reads nothing for six seconds. */
const DAWDLES =
  'dawdle() { setsid "$@" & p=$!; sleep 1.5; kill -STOP -$p; sleep 6; kill -CONT -$p; wait $p; }; dawdle'

/** So many clones at once; `options` may use $i. */
async function herd(
  suite: Suite,
  url: string,
  size: number,
  options: string,
  { log, run = '' }: { log?: string; run?: string } = {}
): Promise<Herd> {
  const id = uniqueId('herd')
  const out = await must(
    client(suite),
    `export GIT_TERMINAL_PROMPT=0; mkdir -p /w/work/${id} && cd /w/work/${id}
for i in $(seq ${size}); do
  ( ${run} git -c http.extraHeader=X-Test:${id} clone -q --bare ${options} ${url} c$i 2> c$i.err; echo $? > c$i.exit ) &
done
wait
for i in $(seq ${size}); do
  [ -d c$i ] || { echo "$(cat c$i.exit) $(tail -1 c$i.err)"; continue; }
  echo "$(cat c$i.exit) $({ git -C c$i rev-list --objects --all | cut -d' ' -f1 | sort; git -C c$i for-each-ref; git -C c$i fsck 2>&1 | grep -v notice; cat c$i.err; } | git hash-object --stdin)"
done | sort | uniq -c | sed 's/^ *//'
rm -rf /w/work/${id}`
  )
  const how: Record<string, number> = {}
  for (const result of results(suite, id, log)) how[result] = (how[result] ?? 0) + 1
  return { states: out.trim().split('\n'), how, packs: packsMade(id), id }
}

/** What one direct clone has, as so many clones would. */
async function direct(
  suite: Suite,
  repository: string,
  size: number,
  options: string
): Promise<string> {
  const one = await herd(suite, `http://upstream/pub/${repository}`, 1, options)
  return one.states.map((state) => state.replace(/^1 /, `${size} `)).join()
}

/** Answers made for one client each, whoever made the pack. */
function made({ how }: Herd): number {
  return how.miss ?? 0
}

const ROWS = [
  { name: 'full clones', options: '' },
  { name: 'depth-1 clones', options: '--depth 1' },
]

const SLOW = `${BIG}; touch slow-pack`

onEachNginx((suite) => {
  const SIZE = suite === 'trixie' ? 100 : 20

  test.each(ROWS)('cold, $name: one pack upstream', async ({ options }) => {
    const repository = await copyOf('main')
    const expected = await direct(suite, repository, SIZE, options)
    const all = await herd(suite, `${through(suite)}/${repository}`, SIZE, options)
    expect(all.states.join(), logs()).toBe(expected)
    expect([all.packs, made(all)], JSON.stringify(all.how)).toEqual([1, 1])
    expect((all.how.join ?? 0) + (all.how.hit ?? 0)).toBe(SIZE - 1)
  })

  test.each([...ROWS, { name: 'single branches', options: '--single-branch --no-tags' }])(
    'warm, $name: one pack here, none upstream',
    async ({ options }) => {
      const repository = await copyOf('main')
      await warmUp(suite, `/pub/${repository}`)
      const expected = await direct(suite, repository, SIZE, options)
      const all = await herd(suite, `${through(suite)}/${repository}`, SIZE, options)
      expect(all.states.join(), logs()).toBe(expected)
      // The warm-up was a whole clone: its answer is there.
      expect([all.packs, made(all)]).toEqual([0, options === '' ? 0 : 1])
    }
  )

  test('a new commit of a repository that has a mirror: one pack in all', async () => {
    const repository = await copyOf('main')
    await warmUp(suite, `/pub/${repository}`)
    await onUpstream(repository, 'commit main new')
    const expected = await direct(suite, repository, SIZE, '--depth 1')
    const all = await herd(suite, `${through(suite)}/${repository}`, SIZE, '--depth 1')
    expect(all.states.join(), logs()).toBe(expected)
    expect([all.packs, made(all)], JSON.stringify(all.how)).toEqual([1, 1])
  })

  // A mirror of more than 8 MB is brought up to date by a fetch: for less upstream answers itself.
  test('a new commit of a larger repository: one small pack upstream, and one here', async () => {
    const large = 'head -c 9000000 /dev/urandom | git hash-object -w --stdin > big'
    const repository = await copyOf('main', `${large} && git update-ref refs/tags/big $(cat big)`)
    await warmUp(suite, `/pub/${repository}`)
    await onUpstream(repository, 'commit main new')
    const options = '--no-tags --depth 1'
    const expected = await direct(suite, repository, SIZE, options)
    const all = await herd(suite, `${through(suite)}/${repository}`, SIZE, options)
    expect(all.states.join(), logs()).toBe(expected)
    expect([all.packs, made(all)], JSON.stringify(all.how)).toEqual([1, 1])
  })

  test('ten distinct requests at once, by ten clients each', async () => {
    const repository = await copyOf('main')
    const url = `${through(suite)}/${repository}`
    const options = '--no-tags --depth 1 -b side-$((i % 10 + 1))'
    const each = await herd(suite, `http://upstream/pub/${repository}`, 10, options)
    const all = await herd(suite, url, 100, options)
    expect(all.states, logs()).toEqual(each.states.map((state) => state.replace(/^1 /, '10 ')))
    expect(made(all)).toBe(10)
    // From the second miss on a mirror is in the making, by one transfer more.
    expect(all.packs).toBeLessThanOrEqual(11)
  })

  test('ten new commits of a repository that has a mirror, by ten clients each', async () => {
    const repository = await copyOf('main')
    await warmUp(suite, `/pub/${repository}`)
    await onUpstream(repository, 'for i in 1 2 3 4 5 6 7 8 9 10; do commit side-$i new; done')
    const options = '--no-tags --depth 1 -b side-$((i % 10 + 1))'
    const each = await herd(suite, `http://upstream/pub/${repository}`, 10, options)
    const all = await herd(suite, `${through(suite)}/${repository}`, 100, options)
    expect(all.states, logs()).toEqual(each.states.map((state) => state.replace(/^1 /, '10 ')))
    expect(made(all)).toBe(10)
    // Upstream answers one after the other itself, or fetches bring what several want; perhaps one the refs.
    expect(all.packs).toBeLessThanOrEqual(11)
  })

  test('the first is killed, one dawdles, some come when half is there: nobody minds', async () => {
    const slow = 'head -c 3000000 /dev/urandom | git hash-object -w --stdin > big'
    const tag = 'git update-ref refs/tags/big $(cat big); touch slow-pack'
    const repository = await copyOf('main', `${slow} && ${tag}`)
    const url = `${through(suite)}/${repository}`
    const expected = await direct(suite, repository, 10, '--mirror')
    // Upstream pauses after 100 kB, which is where the first is killed and who comes late finds it.
    const killed = must(
      client(suite),
      `timeout -s KILL 1.5 git clone -q --mirror ${url} /w/work/killed-${repository}; rm -rf /w/work/killed-${repository}`
    ).catch(() => '')
    await new Promise((resolve) => setTimeout(resolve, 500))
    const early = herd(suite, url, 10, '--mirror')
    let dawdles = true
    const slowest = herd(suite, url, 1, '--mirror', { run: DAWDLES }).finally(() => {
      dawdles = false
    })
    await new Promise((resolve) => setTimeout(resolve, 2000))
    const late = herd(suite, url, 10, '--mirror')
    const [a, b] = await Promise.all([early, late, killed])
    expect(dawdles).toBe(true)
    expect(a.states.join(), logs()).toBe(expected)
    expect(b.states.join()).toBe(expected)
    const last = await slowest
    expect(last.states.join()).toBe(expected.replace(/^10 /, '1 '))
    expect([a.packs, b.packs, last.packs]).toEqual([0, 0, 0])
    expect([made(a), made(b), made(last)]).toEqual([0, 0, 0])
    await untilMirrored(dataOf(suite), `/pub/${repository}`)
  })

  test('a crowd waits for the file, the first few follow the stream', async () => {
    const repository = await copyOf('main', SLOW)
    const expected = await direct(suite, repository, SIZE, '--mirror --depth 1')
    const all = await herd(suite, `${through(suite)}/${repository}`, SIZE, '--mirror --depth 1')
    expect(all.states.join(), logs()).toBe(expected)
    expect([all.packs, made(all)], JSON.stringify(all.how)).toEqual([1, 1])
    const { join = 0, hit = 0 } = all.how
    expect(join + hit).toBe(SIZE - 1)
    expect(join).toBeGreaterThan(0)
    expect(join).toBeLessThanOrEqual(17)
  })

  test('the pack breaks off: who has nothing of it asks once more, for all', async () => {
    const options = '--mirror --depth 1'
    const repository = await copyOf('main', `${BIG}; touch cut-pack`)
    const all = await herd(suite, `${through(suite)}/${repository}`, SIZE, options)
    const expected = await direct(suite, repository, 1, options)
    const whole = all.states.find((state) => expected.endsWith(state.replace(/^\d+ /, '')))
    // Its leader and the first 17 are cut off, as they are straight from upstream.
    expect(Number(whole?.split(' ')[0]), all.states.join('\n')).toBeGreaterThanOrEqual(SIZE - 18)
    expect([all.packs, made(all)], JSON.stringify(all.how)).toEqual([2, 2])
  })

  test('a crowd is never made to wait so long that it is passed', async () => {
    const pair = await startPair({
      name: uniqueId('crowd'),
      suite,
      args: ['--max-wait', '6', '--commit-after', '20'],
    })
    try {
      const repository = await copyOf('main', `${BIG}; echo 8 > slow-pack`)
      const options = '--mirror --depth 1'
      const all = await herd(suite, `${pair.url}/pub/${repository}`, 30, options, { log: pair.log })
      expect(all.states.join()).toBe(await direct(suite, repository, 30, options))
      expect([all.packs, all.how]).toEqual([1, { miss: 1, join: 29 }])
    } finally {
      await pair.stop()
    }
  })

  test('answers that come slowly keep no other from being stored', async () => {
    const options = '--mirror --depth 1'
    const [quick, ...three] = await Promise.all([
      copyOf('main'),
      ...[1, 2, 3].map(() => copyOf('main', `${BIG}; echo 12 > slow-pack`)),
    ])
    const next = (repository: string) => herd(suite, `${through(suite)}/${repository}`, 1, options)
    const running = three.map((repository) =>
      herd(suite, `${through(suite)}/${repository}`, 3, options)
    )
    let ended = 0
    for (const one of running) one.finally(() => ended++)
    expect(made(await next(quick))).toBe(1)
    await expect.poll(async () => (await next(quick)).how, { timeout: 10_000 }).toEqual({ hit: 1 })
    expect(ended).toBe(0)
    const all = await Promise.all(running)
    for (const [i, repository] of three.entries()) {
      expect(all[i]?.states.join()).toBe(await direct(suite, repository, 3, options))
      expect([all[i]?.packs, made(all[i] as Herd)]).toEqual([1, 1])
      await expect
        .poll(async () => (await next(repository)).how, { timeout: 10_000 })
        .toEqual({ hit: 1 })
    }
  })

  test('upstream is overloaded: it is asked twice, not twenty times', async () => {
    const repository = await copyOf('main', 'echo 503 > on-done')
    const all = await herd(suite, `${through(suite)}/${repository}`, 20, '--no-tags')
    expect(all.states.map((state) => state.split(' ').slice(0, 2).join())).toEqual(['20,128'])
    const refused = linesOf('upstream.log').filter(
      (line) => line.startsWith(all.id) && /\t503\t/.test(line)
    )
    expect(refused.length).toBeGreaterThanOrEqual(2)
    // Who comes after the answer asks anew; all of these came at once.
    expect(refused.length).toBeLessThanOrEqual(6)
    expect(all.how['pass; reason=overloaded']).toBe(20)
  })

  test('who waits longer than --max-wait is passed, and says why', async () => {
    const args = ['--max-wait', '2']
    const pair = await startPair({ name: uniqueId('slow'), suite, args })
    try {
      const repository = await copyOf('main', 'echo 5 > late-pack')
      const url = `${pair.url}/pub/${repository}`
      const all = await herd(suite, url, 4, '--depth 1', { log: pair.log })
      expect(all.states.join()).toBe(await direct(suite, repository, 4, '--depth 1'))
      expect(all.how).toEqual({ miss: 1, 'pass; reason=slow': 3 })
    } finally {
      await pair.stop()
    }
  })

  test('the first may not, the others may: one of them leads', async () => {
    const first = uniqueId('first')
    // Of few refs: git compresses a long request, and then upstream does not see what it is.
    const repository = await copyOf('small', `echo "403 ${first} 2" > on-done`)
    const url = `${through(suite)}/${repository}`
    const refused = must(
      client(suite),
      `git -c http.extraHeader=X-Test:${first} clone -q --bare ${url} /w/work/${first}; [ $? = 128 ]; code=$?; rm -rf /w/work/${first}; exit $code`
    )
    await new Promise((resolve) => setTimeout(resolve, 1000))
    const all = await herd(suite, url, 10, '')
    await refused
    expect(all.states.map((state) => state.split(' ').slice(0, 2).join())).toEqual(['10,0'])
    expect(made(all)).toBe(1)
    expect(all.packs).toBe(1)
  })
})
