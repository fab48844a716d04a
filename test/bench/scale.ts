/**
 * `npm run bench:scale`: how cost grows with the size of a repository and with the number of
 * connections. A curve that bends upward is a finding.
 */
import { mkdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { load, median } from './measure.ts'
import { type Bench, startBench } from './processes.ts'
import { commit, repositoryOf, reset, type Shape, SMALL } from './repository.ts'
import {
  cached,
  checkout,
  direct,
  fetchOf,
  instant,
  makeTiny,
  store,
  TINY,
  walls,
  warm,
} from './rows.ts'

const root = process.env.GITCACHE_BENCH_DIR ?? '/var/tmp/nginx-git-cache-bench'
const repos = path.join(root, 'repos')

const SIZES: Shape[] = [1, 4, 16].map((times) => ({
  ...SMALL,
  name: times === 1 ? SMALL.name : `small-x${times}`,
  commits: SMALL.commits * times,
  assets: SMALL.assets * times,
}))

function print(cells: (string | number)[]): void {
  const text = cells.map((cell) => (typeof cell === 'number' ? cell.toPrecision(3) : cell))
  console.log(`| ${text.join(' | ')} |`)
}

async function bySize(bench: Bench): Promise<void> {
  print([
    'size',
    'cold clone, s',
    'direct, s',
    'ratio',
    'new commit, depth 1, s',
    'direct, s',
    'hit, ms',
  ])
  print(Array(7).fill('---'))
  for (const [i, shape] of SIZES.entries()) {
    const name = `${shape.name}.git`
    const { ours, plain } = await walls(bench, name, [], 3, bench.cold)
    await bench.cold()
    await warm(bench, name)
    const fresh: number[] = []
    const plainly: number[] = []
    for (let n = 0; n < 3; n++) {
      const oid = commit(path.join(repos, name))
      fresh.push(await checkout(bench, cached(name), oid))
      plainly.push(await checkout(bench, direct(name), oid))
    }
    reset(path.join(repos, name))
    const body = fetchOf(bench, name, {})
    await store(bench, cached(name), body, 'scale')
    const hit = await load(bench.dir, `${cached(name)}/git-upload-pack`, {
      body,
      connections: 1,
      seconds: 3,
    })
    print([
      `${4 ** i}x`,
      ours,
      plain,
      ours / plain,
      median(fresh),
      median(plainly),
      hit.latency / 1000,
    ])
  }
}

async function byConnections(bench: Bench): Promise<void> {
  const body = fetchOf(bench, TINY, {})
  await store(bench, instant(TINY), body, 'tiny')
  print(['connections', 'hits per second', 'median latency, ms', 'sidecar memory, MB'])
  print(Array(4).fill('---'))
  for (const connections of [1, 10, 100, 500]) {
    const url = `${instant(TINY)}/git-upload-pack`
    const { rps, latency } = await load(bench.dir, url, { body, connections, seconds: 4 })
    print([String(connections), rps, latency / 1000, bench.sidecarMemory() / 1000])
  }
}

mkdirSync(repos, { recursive: true })
for (const shape of SIZES) await repositoryOf(repos, shape)
makeTiny(repos)
const run = path.join(root, `scale-${process.pid}`)
const bench = await startBench(run, repos)
try {
  await bySize(bench)
  await byConnections(bench)
} finally {
  await bench.stop()
  rmSync(run, { recursive: true, force: true })
}
