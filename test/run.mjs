/**
 * `npm test`: everything, from types to containers, on a machine that has Node and npm only.
 * Exit status 0 passed, 1 failed, 2 something is missing that we may not install.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'

const root = path.resolve(import.meta.dirname ?? '.', '..')
const full = process.argv.includes('--full')
const totals = { passed: 0, skipped: 0 }
/** Said again at the end, since of a long run that is what is read, or kept. */
const failures = []

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
  if (status === 0) totals.passed += 1
  else failures.push(title)
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
  rmSync(path.dirname(report), { recursive: true, force: true })
  const { numPassedTests = 0, numPendingTests = 0, numTodoTests = 0 } = counted
  totals.passed += numPassedTests
  totals.skipped += numPendingTests + numTodoTests
  const failed = failedTests(counted)
  failures.push(...(status !== 0 && failed.length === 0 ? [title] : failed))
  console.log(`== ${title}: ${status === 0 ? 'passed' : 'FAILED'}, ${seconds(begun)}`)
}

/** Each with its file and the first line of why; a file that broke outside of its tests is one as well. */
function failedTests({ testResults = [] }) {
  return testResults.flatMap(({ name, status, message, assertionResults }) => {
    const file = path.relative(root, name)
    const failed = assertionResults.filter((test) => test.status === 'failed')
    if (failed.length === 0 && status === 'failed') return [`${file}: ${firstLine(message)}`]
    return failed.map(
      ({ fullName, failureMessages }) => `${file} > ${fullName}: ${firstLine(failureMessages[0])}`
    )
  })
}

function firstLine(text = '') {
  return text.split('\n', 1)[0]
}

function seconds(since) {
  return `${Math.round((Date.now() - since) / 1000)} s`
}

function finish(status) {
  const { passed, skipped } = totals
  if (failures.length > 0) console.log(`\nfailed:\n  ${failures.join('\n  ')}`)
  console.log(`\n${passed} passed, ${failures.length} failed, ${skipped} skipped`)
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
finish(failures.length === 0 ? 0 : 1)
