/**
 * `npm run fuzz`: a million cases of the cheap properties, some thousands of those that run git, and
 * how many there were of each. GITCACHE_FUZZ_CASES: another number; GITCACHE_FUZZ_SEED: the same again.
 * Exit status 0 passed, 1 a property failed, or fewer cases ran than were asked for.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'

const FILES = ['test/property', 'test/contract/fuzz', 'test/unit/gzip', 'test/unit/tag-names']
/** For one property, in milliseconds: the whole run takes less. */
const PATIENCE = 1_400_000

const root = path.resolve(import.meta.dirname, '..')
const cases = Number(process.env.GITCACHE_FUZZ_CASES) || 1_000_000
const seed = Number(process.env.GITCACHE_FUZZ_SEED) || Math.floor(Math.random() * 0x7fffffff)
const dir = mkdtempSync(path.join(tmpdir(), 'gitcache-fuzz-'))
const report = path.join(dir, 'report')
const begun = Date.now()

writeFileSync(report, '')
console.log(`cases ${cases}, seed ${seed}`)
const args = ['run', '--project', 'unit', '--reporter=dot', `--testTimeout=${PATIENCE}`, ...FILES]
const { status } = spawnSync('vitest', args, {
  cwd: root,
  stdio: 'inherit',
  env: {
    ...process.env,
    PATH: `${root}/node_modules/.bin:${process.env.PATH}`,
    GITCACHE_FUZZ_CASES: String(cases),
    GITCACHE_FUZZ_SEED: String(seed),
    GITCACHE_FUZZ_REPORT: report,
  },
})

const rows = readFileSync(report, 'utf8')
  .split('\n')
  .filter(Boolean)
  .map((line) => JSON.parse(line))
rmSync(dir, { recursive: true })

function total(cost) {
  return rows.filter((row) => row.cost === cost).reduce((sum, { ran }) => sum + ran, 0)
}

for (const { name, cost, ran } of rows) console.log(`${String(ran).padStart(9)} ${cost}  ${name}`)
const [cheap, git] = [total('cheap'), total('git')]
console.log(`${cheap} cheap cases, ${git} with git, ${Math.round((Date.now() - begun) / 1000)} s`)
if (cheap < cases) console.log(`FAILED: ${cases} were asked for`)
process.exit(status === 0 && cheap >= cases ? 0 : 1)
