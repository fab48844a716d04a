/**
 * `npm run bench`: what the cache costs and saves, on loopback, each figure as a ratio within one
 * run. `--quick` leaves the large repository out, `--only=NAME` all other rows (ROWS in rows.ts names
 * them). Writes bench.json beside the data, and for a part bench-quick.json or bench-NAME.json.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import path from 'node:path'
import { installPackages } from '../e2e/support/packages.ts'
import { type Row, table } from './measure.ts'
import { startBench } from './processes.ts'
import { LARGE, makeWarmUps, repositoryOf, SMALL } from './repository.ts'
import { ROWS } from './rows.ts'

const quick = process.argv.includes('--quick')
const only = process.argv.find((arg) => arg.startsWith('--only='))?.slice(7)
const selected = ROWS.filter(
  ({ name, large }) => !(quick && large) && (only === undefined || name === only)
)
if (selected.length === 0) {
  console.error(`--only=${only}: one of ${ROWS.map(({ name }) => name).join(', ')}`)
  process.exit(2)
}
const root = process.env.GITCACHE_BENCH_DIR ?? '/var/tmp/nginx-git-cache-bench'

await installPackages([
  { command: 'git', packages: ['git'] },
  { command: 'nginx', packages: ['nginx-light', 'libnginx-mod-http-js'] },
  { command: 'apache2', packages: ['apache2-bin'] },
  { command: 'wrk', packages: ['wrk'] },
  { command: 'curl', packages: ['curl'] },
])
const repos = path.join(root, 'repos')
mkdirSync(repos, { recursive: true })
console.log(`repositories in ${repos}; the first run makes them`)
await repositoryOf(repos, SMALL)
if (!quick) await repositoryOf(repos, LARGE)

makeWarmUps(repos)
const run = path.join(root, `run-${process.pid}`)
const bench = await startBench(run, repos)
const rows: Row[] = []
const failed: string[] = []
for (const { name, measure } of selected) {
  const begun = Date.now()
  try {
    await bench.cold()
    bench.proxy.delay = 0
    const measured = await measure(bench)
    rows.push(...measured)
    console.log(table(measured).split('\n').slice(2).join('\n'))
  } catch (error) {
    failed.push(name)
    console.log(`${name}: FAILED: ${error instanceof Error ? error.message : error}`)
  }
  console.log(`  (${name}: ${Math.round((Date.now() - begun) / 1000)} s)`)
}
await bench.stop()
rmSync(run, { recursive: true, force: true })

const machine = `${cpus().length} x ${cpus()[0]?.model}, Node ${process.version}`
const part = only ?? (quick ? 'quick' : null)
const json = path.join(root, part === null ? 'bench.json' : `bench-${part}.json`)
writeFileSync(json, JSON.stringify({ machine, rows, failed }, null, 2))
console.log(`\n${machine}\n\n${table(rows)}\n`)
const met = rows.filter((one) => one.met).length
console.log(`${rows.length} rows, ${met} goals met, ${failed.length} failed; JSON in ${json}`)
process.exit(failed.length === 0 ? 0 : 1)
