/**
 * `npm test`: everything, from types to containers, on a machine that has Node and npm only.
 * Exit status 0 passed, 1 failed, 2 something is missing that we may not install.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'

const root = path.resolve(import.meta.dirname ?? '.', '..')
const full = process.argv.includes('--full')
const totals = { passed: 0, failed: 0, skipped: 0 }

function run(command, args, env = {}) {
  const { status } = spawnSync(command, args, {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, PATH: `${root}/node_modules/.bin:${process.env.PATH}`, ...env },
  })
  return status ?? 1
}

function step(title, command, args, env) {
  const begun = Date.now()
  console.log(`\n== ${title}`)
  const status = run(command, args, env)
  totals[status === 0 ? 'passed' : 'failed'] += 1
  console.log(`== ${title}: ${status === 0 ? 'passed' : 'FAILED'}, ${seconds(begun)}`)
  return status
}

/** Counts each test by vitest's own report, so that a skipped one is seen. */
function vitest(title, project) {
  const begun = Date.now()
  const report = path.join(mkdtempSync(path.join(tmpdir(), 'gitcache-report-')), 'report.json')
  console.log(`\n== ${title}`)
  const args = [
    'run',
    '--project',
    project,
    '--reporter=dot',
    '--reporter=json',
    `--outputFile.json=${report}`,
  ]
  const status = run('vitest', args, full ? { GITCACHE_TEST_FULL: '1' } : {})
  const counted = existsSync(report) ? JSON.parse(readFileSync(report, 'utf8')) : {}
  const { numPassedTests = 0, numFailedTests = 0, numPendingTests = 0, numTodoTests = 0 } = counted
  totals.passed += numPassedTests
  // A suite that broke outside of its tests has failed as well.
  totals.failed += status !== 0 && numFailedTests === 0 ? 1 : numFailedTests
  totals.skipped += numPendingTests + numTodoTests
  console.log(`== ${title}: ${status === 0 ? 'passed' : 'FAILED'}, ${seconds(begun)}`)
}

function seconds(since) {
  return `${Math.round((Date.now() - since) / 1000)} s`
}

function finish(status) {
  const { passed, failed, skipped } = totals
  console.log(`\n${passed} passed, ${failed} failed, ${skipped} skipped`)
  process.exit(status)
}

if (!existsSync(path.join(root, 'node_modules/.package-lock.json'))) {
  if (run('npm', ['ci']) !== 0) process.exit(2)
}
step('types', 'npm', ['run', '--silent', 'types'])
step('lint and format', 'npm', ['run', '--silent', 'lint'])
if (step('build', 'npm', ['run', '--silent', 'build']) !== 0) finish(1)
// What the tests need is built or installed before any of them runs; a lack is no failure but exit 2.
const setup = run('node', ['test/e2e/support/prepare.ts'])
if (setup !== 0) process.exit(setup)
vitest('unit and property', 'unit')
step('Deno', 'npx', [
  '--yes',
  'deno@2.9.6',
  'test',
  '--no-check',
  '--quiet',
  '--allow-read',
  'test/deno',
])
vitest('end to end', 'e2e')
finish(totals.failed === 0 ? 0 : 1)
