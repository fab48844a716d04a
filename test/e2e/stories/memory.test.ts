/**
 * Many clients, many repositories, for a while: memory of the sidecar and of nginx's workers does not
 * grow with them. `npm run soak` takes longer.
 */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Pair, startPair } from '../support/pair.ts'

import { client, logs, must, stack, uniqueId } from '../support/servers.ts'
import { onOneNginx } from '../support/versions.ts'

const SECONDS = Number(process.env.GITCACHE_SOAK_SECONDS ?? 15)
const CONNECTIONS = Number(process.env.GITCACHE_SOAK_CONNECTIONS ?? 100)
const REPOSITORIES = 60
/** Seconds after which it is looked again. */
const ROUND = 240
/** Of what a process has after the first round. */
const GROWTH = 1.25
const SLACK = 24 * 1024

interface Memory {
  sidecar: number
  nginx: number
}

onOneNginx((suite) => {
  const sidecar = stack().sidecar[suite] as string
  const name = uniqueId('memory')
  const list = `/w/pairs/${name}/repositories`
  let pair: Pair

  beforeAll(async () => {
    pair = await startPair({
      name,
      suite,
      args: ['--make-mirrors', 'always', '--queue-length', '1000'],
    })
    await must(
      stack().upstream,
      `cd /w/repos; for i in $(seq ${REPOSITORIES}); do cp -a small.git ${name}-$i.git; echo "${name}-$i.git $(git -C small.git rev-parse main)"; done > ${list}`
    )
  })
  afterAll(async () => {
    await pair.stop()
    await must(stack().upstream, `rm -rf /w/repos/${name}-*`)
  })

  /** kB: the sidecar's, and the largest of nginx's workers'. */
  async function memory(): Promise<Memory> {
    const rss = "awk '/^VmRSS/ {print $2}'"
    const own = await must(sidecar, `${rss} /proc/$(cat /w/pairs/${name}/sidecar.pid)/status`)
    const workers = await must(
      client(suite),
      `for p in $(pgrep -P "$(cat ${pair.pid})"); do ${rss} /proc/$p/status; done | sort -n | tail -1`
    )
    return { sidecar: Number(own), nginx: Number(workers) }
  }

  async function load(seconds: number): Promise<Record<string, number>> {
    const out = await must(
      sidecar,
      `node /w/upstream/load.mjs ${pair.url} ${CONNECTIONS} ${seconds} ${list}`
    )
    return JSON.parse(out) as Record<string, number>
  }

  test(`${CONNECTIONS} connections for ${SECONDS} seconds`, async () => {
    await load(Math.min(SECONDS, ROUND))
    const before = await memory()
    const total: Record<string, number> = {}
    const rounds: Memory[] = []
    for (let done = 0; done < SECONDS; done += ROUND) {
      const counts = await load(Math.min(SECONDS - done, ROUND))
      for (const [how, n] of Object.entries(counts)) total[how] = (total[how] ?? 0) + n
      rounds.push(await memory())
    }
    const after = rounds.at(-1) ?? before
    console.log(JSON.stringify({ before, rounds, total }))
    expect(after.sidecar, logs()).toBeLessThan(before.sidecar * GROWTH + SLACK)
    expect(after.nginx).toBeLessThan(before.nginx * GROWTH + SLACK)
    expect(total.hit).toBeGreaterThan(SECONDS * 10)
    const bad = Object.keys(total).filter((how) => /^cut|^E/.test(how))
    expect(bad).toEqual([])
  }, 7_200_000)
})
