/**
 * The table: (nginx version) x (git client) x (protocol) x (operation). What a client ends up with
 * through the cache is what it gets straight from upstream, and the second time is a hit wherever
 * the operation's row does not say otherwise.
 */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Cell, type CellRun, runCell, through, warm } from '../support/cell.ts'
import { OPERATIONS } from '../support/operations.ts'
import { logs, packsMade, results } from '../support/servers.ts'
import { GIT_OF, SUITES, type Suite } from '../support/stack.ts'
import { chosen, onEachNginx } from '../support/versions.ts'

const PROTOCOLS = [0, 1, 2] as const
const REPOSITORIES = [
  'main',
  'small',
  'detached',
  'nofilter',
  'sha256',
  'branches',
  'tags',
  'inc-new',
  'forced-new',
  'pruned-new',
  'super',
].map((name) => `${name}.git`)

/** The whole table here; on the other versions each pair of columns at least once. */
const WHOLE: Suite = 'trixie'
const FULL = process.env.GITCACHE_TEST_FULL === '1'

function cellsOf(nginx: Suite): Cell[] {
  return OPERATIONS.flatMap((operation, o) =>
    SUITES.flatMap((git, g) =>
      PROTOCOLS.map((protocol, p) => ({
        nginx,
        git,
        protocol,
        operation,
        chosen: (o + g + p) % 3 === 0,
      }))
    )
  ).filter((cell) => FULL || nginx === WHOLE || cell.chosen)
}

const ran = new Map<string, number>()

/** What a cell gives straight from upstream, whichever nginx is beside it. */
const straightFromUpstream = new Map<string, Promise<CellRun>>()

function straight(cell: Cell): Promise<CellRun> {
  const key = [cell.operation.name, cell.git, cell.protocol].join()
  const run = straightFromUpstream.get(key) ?? runCell(cell, 'http://upstream/pub', 'direct')
  straightFromUpstream.set(key, run)
  return run
}

onEachNginx((nginx) => {
  beforeAll(async () => {
    await warm(nginx, REPOSITORIES)
  })

  const rows = cellsOf(nginx).map((cell) => ({
    title: `git ${GIT_OF[cell.git]} v${cell.protocol} ${cell.operation.name}`,
    cell,
  }))

  test.concurrent.each(rows)('$title', async ({ cell }) => {
    const direct = await straight(cell)
    const first = await runCell(cell, through(nginx), 'first')
    const second = await runCell(cell, through(nginx), 'second')
    const how = results(nginx, second.id).join(',')
    const expected = (cell.protocol === 2 ? cell.operation.v2 : cell.operation.v0) ?? /^hit$/
    const problems = [
      ...difference('first', direct, first),
      ...difference('second', direct, second),
      ...(expected.test(how) ? [] : [`answered ${how}, expected ${expected}`]),
      ...(/^hit(,hit)*$/.test(how) && packsMade(second.id) > 0 ? ['upstream made a pack'] : []),
    ]
    expect(problems.join('\n') + (problems.length > 0 ? logs() : '')).toBe('')
    const key = `nginx of ${nginx}, git ${GIT_OF[cell.git]}, v${cell.protocol}`
    ran.set(key, (ran.get(key) ?? 0) + 1)
  })
})

/** What the client has or said that it would not have or say straight from upstream, and the reverse. */
function difference(run: string, direct: CellRun, cached: CellRun): string[] {
  const [expected, actual] = [direct, cached].map(({ code, out }) => [
    `exit ${code}`,
    ...out.split('\n'),
  ])
  const only = (a: string[] = [], b: string[] = []) =>
    a.filter((line) => !b.includes(line)).slice(0, 8)
  return [
    ...only(expected, actual).map((line) => `${run}: - ${line}`),
    ...only(actual, expected).map((line) => `${run}: + ${line}`),
  ]
}

afterAll(() => {
  for (const nginx of chosen()) {
    for (const git of SUITES) {
      for (const protocol of PROTOCOLS) {
        const key = `nginx of ${nginx}, git ${GIT_OF[git]}, v${protocol}`
        const cells = ran.get(key) ?? 0
        console.log(`cells: ${key}: ${cells}`)
        expect(cells, `no cell ran: ${key}`).toBeGreaterThan(0)
      }
    }
  }
})
