/**
 * `npm run bench:scale`: how cost grows with the size of a repository, with the number of
 * connections, and a start with the number of answers. A curve that bends upward is a finding.
 * `--only=sizes`, `connections` or `answers` leaves the others out.
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { pino } from 'pino'
import { openBudget } from '../../sidecar/src/budget.ts'
import { createMetrics } from '../../sidecar/src/metrics.ts'
import type { Mirrors } from '../../sidecar/src/mirrors.ts'
import { openStore, repositoryTag } from '../../sidecar/src/store.ts'
import { prepareLayout } from '../support/layout.ts'
import { load, median } from './measure.ts'
import { type Bench, startBench } from './processes.ts'
import { commit, makeWarmUps, repositoryOf, reset, type Shape, SMALL, TINY } from './repository.ts'
import {
  AUTHORISED,
  cached,
  checkout,
  direct,
  fetchOf,
  instant,
  store,
  walls,
  warm,
} from './rows.ts'

const root = process.env.GITCACHE_BENCH_DIR ?? '/var/tmp/nginx-git-cache-bench'
const repos = path.join(root, 'repos')

const SIZES: Shape[] = [1, 4, 16].map((times) => ({
  ...SMALL,
  name: times === 1 ? SMALL.name : `small-x${times}`,
  commits: SMALL.commits * times,
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
    const body = await fetchOf(bench, name)
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
  const body = await fetchOf(bench, TINY)
  await store(bench, instant(TINY), body, 'tiny')
  print([
    'connections',
    'hits per second',
    'static + auth_request',
    'ratio',
    'median latency, ms',
    'sidecar memory, MB',
  ])
  print(Array(6).fill('---'))
  for (const connections of [1, 10, 100, 500]) {
    const url = `${instant(TINY)}/git-upload-pack`
    const asked = await load(bench.dir, `${AUTHORISED}/tiny`, { connections, seconds: 4 })
    const { rps, latency } = await load(bench.dir, url, { body, connections, seconds: 4 })
    const memory = bench.sidecarMemory() / 1000
    print([String(connections), rps, asked.rps, rps / asked.rps, latency / 1000, memory])
  }
}

/** So many answers of 200 bytes, and beside each the file that says whose it is. */
function putAnswers(packs: string, count: number): void {
  const tag = repositoryTag('/a')
  const bytes = Buffer.alloc(200)
  for (let i = 0; i < count; i++) {
    const key = createHash('sha256').update(String(i)).digest('hex')
    const file = path.join(packs, key.slice(0, 2), key)
    mkdirSync(path.dirname(file), { recursive: true })
    writeFileSync(`${file}.${tag}`, '')
    writeFileSync(file, bytes)
  }
}

/** How long it takes a sidecar that starts to know all of its answers, which it does beside its work. */
async function byAnswers(): Promise<void> {
  print(['answers', 'until all are known, s', 'find(1) with sizes, s', 'ratio'])
  print(Array(4).fill('---'))
  for (const count of [1000, 10_000, 100_000]) {
    const dir = path.join(root, `answers-${process.pid}`)
    const dirs = prepareLayout(dir)
    putAnswers(dirs.packs, count)
    const found = Date.now()
    execFileSync('find', [dirs.packs, '-type', 'f', '-printf', '%s\\n'], { maxBuffer: 2 ** 26 })
    const begun = Date.now()
    const budget = openBudget({
      dirs,
      store: openStore(dirs),
      mirrors: { sizes: async () => [] } as unknown as Mirrors,
      log: pino({ level: 'silent' }),
      faults: (code, error) => {
        throw new Error(`${code}: ${error}`)
      },
      metrics: createMetrics({ git: '' }),
      limit: 2 ** 50,
    })
    await budget.enforce()
    const ended = Date.now()
    budget.stop()
    if (budget.sizes().packs !== count * 200) throw new Error('not all of them are known')
    print([
      String(count),
      (ended - begun) / 1000,
      (begun - found) / 1000,
      (ended - begun) / (begun - found),
    ])
    rmSync(dir, { recursive: true, force: true })
  }
}

async function withServers(measure: (bench: Bench) => Promise<void>): Promise<void> {
  mkdirSync(repos, { recursive: true })
  for (const shape of SIZES) await repositoryOf(repos, shape)
  makeWarmUps(repos)
  const run = path.join(root, `scale-${process.pid}`)
  const bench = await startBench(run, repos)
  try {
    await measure(bench)
  } finally {
    await bench.stop()
    rmSync(run, { recursive: true, force: true })
  }
}

const CURVES: Record<string, () => Promise<void>> = {
  sizes: () => withServers(bySize),
  connections: () => withServers(byConnections),
  answers: byAnswers,
}

const only = process.argv.find((arg) => arg.startsWith('--only='))?.slice('--only='.length)
if (only !== undefined && CURVES[only] === undefined) {
  console.error(`--only=${only}: one of ${Object.keys(CURVES).join(', ')}`)
  process.exit(2)
}
mkdirSync(root, { recursive: true })
for (const [name, curve] of Object.entries(CURVES)) if ((only ?? name) === name) await curve()
