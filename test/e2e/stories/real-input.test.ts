/**
 * Real content at a real size: the history of a published npm package, one commit and one tag for
 * each version, at least 10,000 objects.
 */
import { execFile } from 'node:child_process'
import { chmodSync, mkdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type CellRun, runCell, through, warm } from '../support/cell.ts'
import { HIT, HITS, type Operation, ROUNDS } from '../support/operations.ts'
import { logs, must, packsMade, results, stack, uniqueId } from '../support/servers.ts'
import { onEachNginx } from '../support/versions.ts'

const VERSIONS = ['2.0.0', '2.16.0', '2.29.3', '2.30.0', '3.6.0']
const ENOUGH = 10_000

const name = uniqueId('real').toLowerCase()
const work = () => path.join(stack().dir, 'work', name)

const operations: Operation[] = [
  { name: 'clone', script: `$GIT clone -q $URL/${name}.git c`, v2: HIT },
  { name: 'clone --depth 1', script: `$GIT clone -q --depth 1 $URL/${name}.git c`, v2: HIT },
  {
    name: 'clone --filter=blob:none, checkout',
    script: `$GIT clone -q --filter=blob:none $URL/${name}.git c`,
    state: 'partial',
    v2: HITS,
  },
  ...[1, VERSIONS.length - 1].map((back) => ({
    name: `fetch of ${back} new versions`,
    script: `git clone -q --bare $DIRECT/${name}-${back}.git c && $GIT -C c fetch -q $URL/${name}.git 'refs/*:refs/*'`,
    v2: ROUNDS,
  })),
]

beforeAll(async () => {
  mkdirSync(work())
  chmodSync(work(), 0o777)
  const packages = VERSIONS.map((version) => `date-fns@${version}`)
  await promisify(execFile)('npm', ['pack', '--silent', ...packages], {
    cwd: work(),
    timeout: 300_000,
  })
  await must(stack().upstream, importVersions())
  const objects = await must(
    stack().upstream,
    `git -C /w/repos/${name}.git rev-list --objects --all | wc -l`
  )
  console.log(`objects of the real repository: ${objects}`)
  expect(Number(objects)).toBeGreaterThanOrEqual(ENOUGH)
})

/** Beside the whole repository, what it was one version ago and what it was at first. */
function importVersions(): string {
  return `
set -e
export HOME=/tmp GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=A GIT_COMMITTER_EMAIL=a@example.org
repo=/w/repos/${name}.git
git init -q --bare --initial-branch=main $repo
git -C $repo config uploadpack.allowFilter true
git -C $repo config gc.auto 0
git -C $repo config maintenance.auto false
cd ${work().replace(stack().dir, '/w')}
n=0
for version in ${VERSIONS.join(' ')}; do
  n=$((n + 1))
  rm -rf package && tar xzf date-fns-$version.tgz
  export GIT_AUTHOR_DATE="$((1600000000 + n)) +0000" GIT_COMMITTER_DATE="$((1600000000 + n)) +0000"
  git --git-dir=$repo --work-tree=package add -A
  git --git-dir=$repo --work-tree=package commit -q -m "version $version"
  git -C $repo tag -a -m $version v$version
  case $n in ${VERSIONS.length - 1}) cp -r $repo /w/repos/${name}-1.git ;; 1) cp -r $repo /w/repos/${name}-${VERSIONS.length - 1}.git ;; esac
done
rm -rf package
git -C $repo gc -q
chown -R www-data /w/repos/${name}*.git`
}

onEachNginx((nginx) => {
  beforeAll(async () => {
    await warm(nginx, [`${name}.git`])
  })

  test.concurrent.each(operations)('$name', async (operation) => {
    const cell = { nginx, git: nginx, protocol: 2 as const, operation }
    const direct = await runCell(cell, 'http://upstream/pub', 'direct')
    expect(direct.code, direct.out).toBe(0)
    const first = await runCell(cell, through(nginx), 'first')
    expect(has(first), logs()).toEqual(has(direct))
    const second = await runCell(cell, through(nginx), 'second')
    expect(has(second), logs()).toEqual(has(direct))
    expect(results(nginx, second.id).join(',')).toMatch(operation.v2 as RegExp)
    if (operation.v2 !== ROUNDS) expect(packsMade(second.id)).toBe(0)
  })
})

function has({ code, out }: CellRun): { code: number; out: string } {
  return { code, out }
}

afterAll(() => {
  rmSync(work(), { recursive: true, force: true })
  for (const end of ['', '-1', `-${VERSIONS.length - 1}`])
    rmSync(path.join(stack().dir, 'repos', `${name}${end}.git`), { recursive: true, force: true })
})
