/**
 * A repository that the cache has never seen: upstream makes one pack, which the client gets as it
 * comes; the second client hits; a whole clone becomes the mirror without another transfer.
 */
import { globSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { type CellRun, runCell, through } from '../support/cell.ts'
import type { Operation } from '../support/operations.ts'
import {
  BIG,
  copyOf,
  makeRepository,
  onUpstream,
  REPAIRED,
  ROTTEN,
} from '../support/repositories.ts'
import {
  client,
  dataOf,
  linesOf,
  logs,
  mirrorFiles,
  must,
  packsMade,
  results,
  sh,
  stack,
  uniqueId,
  untilMirrored,
} from '../support/servers.ts'
import type { Suite } from '../support/stack.ts'
import { onEachNginx } from '../support/versions.ts'

const DIRECT = 'http://upstream/pub'

interface Cold {
  name: string
  from: string
  protocol?: 0 | 2
  script: string
  state?: Operation['state']
  first: RegExp
  second: RegExp
  /** A whole clone: it seeds the mirror. */
  seeds?: boolean
}

const MISS = /^miss$/
const HIT = /^(hit|join)$/

const ROWS: Cold[] = [
  { name: 'clone', from: 'main', script: 'clone -q', first: MISS, second: HIT, seeds: true },
  {
    name: 'clone, v0',
    from: 'main',
    protocol: 0,
    script: 'clone -q',
    first: MISS,
    second: HIT,
    seeds: true,
  },
  {
    name: 'clone, sha256',
    from: 'sha256',
    script: 'clone -q',
    first: MISS,
    second: HIT,
    seeds: true,
  },
  {
    name: 'clone --single-branch, with its tags',
    from: 'main',
    script: 'clone -q --single-branch',
    first: MISS,
    second: HIT,
    seeds: true,
  },
  { name: 'clone --depth 1', from: 'main', script: 'clone -q --depth 1', first: MISS, second: HIT },
  {
    name: 'clone --depth 1, v0',
    from: 'main',
    protocol: 0,
    script: 'clone -q --depth 1',
    first: /^pass; reason=v0-no-done,miss$/,
    second: /^pass; reason=v0-no-done,(hit|join)$/,
  },
  {
    name: 'clone --filter=blob:none --bare',
    from: 'main',
    script: 'clone -q --bare --filter=blob:none',
    state: 'partial',
    first: MISS,
    second: HIT,
  },
  {
    name: 'clone of a shallow upstream: nothing of it is stored',
    from: 'shallow',
    script: 'clone -q',
    first: MISS,
    second: /^pass; reason=shallow-upstream$/,
  },
  {
    name: 'clone of a shallow upstream, v0, where its answer does not say so',
    from: 'shallow',
    protocol: 0,
    script: 'clone -q',
    first: MISS,
    second: /^(pass; reason=shallow-upstream|join)$/,
  },
]

/** All that upstream has sent to a test, bodies alone. */
function bytesSent(id: string): number {
  const rows = linesOf('upstream.log').filter((line) => line.startsWith(`${id}\t`))
  return rows.reduce((sum, line) => sum + Number(line.split('\t')[4]), 0)
}

function run(suite: Suite, url: string, row: Cold, repository: string): Promise<CellRun> {
  const operation: Operation = {
    name: row.name,
    script: `$GIT ${row.script} $URL/${repository} c`,
    ...(row.state === undefined ? {} : { state: row.state }),
  }
  const git: Suite = 'trixie' in stack().nginx ? 'trixie' : suite
  return runCell({ nginx: suite, git, protocol: row.protocol ?? 2, operation }, url, 'cold')
}

/** The mirror has what makes the next answer cheap. */
async function untilImproved(data: string, repository: string): Promise<void> {
  const [mirror] = mirrorFiles(data).filter(({ of }) => of === repository.replace(/\.git$/, ''))
  const objects = path.join(data, path.dirname(mirror?.file ?? ''), 'objects')
  const improved = () => globSync(['pack/*.bitmap', 'info/commit-graph'], { cwd: objects }).length
  await expect.poll(improved, { timeout: 60_000 }).toBe(2)
}

onEachNginx((suite) => {
  test.each(ROWS)('$name', async (row) => {
    const repository = await copyOf(row.from)
    const direct = await run(suite, DIRECT, row, repository)
    const first = await run(suite, through(suite), row, repository)
    expect(results(suite, first.id).join(), logs()).toMatch(row.first)
    expect(first.out).toBe(direct.out)
    if (row.seeds) await untilMirrored(dataOf(suite), `/pub/${repository}`)
    if (row.seeds) await untilImproved(dataOf(suite), `/pub/${repository}`)
    const second = await run(suite, through(suite), row, repository)
    expect(second.out).toBe(direct.out)
    expect(results(suite, second.id).join(), logs()).toMatch(row.second)
    // The seed's fetch carries this client's headers too: it brought no pack.
    expect(packsMade(first.id)).toBe(1)
    if (/(hit|join)$/.test(results(suite, second.id).join())) {
      expect(packsMade(second.id)).toBe(0)
    }
  })

  test('after a clone, another request is generated here', async () => {
    const repository = await copyOf('main')
    await run(suite, through(suite), ROWS[0] as Cold, repository)
    await untilMirrored(dataOf(suite), `/pub/${repository}`)
    const shallow = ROWS[4] as Cold
    const direct = await run(suite, DIRECT, shallow, repository)
    const cached = await run(suite, through(suite), shallow, repository)
    expect(cached.out).toBe(direct.out)
    expect(results(suite, cached.id)).toEqual(['miss'])
    expect(packsMade(cached.id)).toBe(0)
  })

  test('a new commit of a small repository: upstream answers, and the mirror what is asked next', async () => {
    const repository = await copyOf('main')
    const [full, shallow] = [ROWS[0] as Cold, ROWS[4] as Cold]
    await run(suite, through(suite), full, repository)
    await untilMirrored(dataOf(suite), `/pub/${repository}`)
    await onUpstream(repository, 'commit main new')
    const first = await run(suite, through(suite), shallow, repository)
    expect(first.out).toBe((await run(suite, DIRECT, shallow, repository)).out)
    expect(results(suite, first.id)).toEqual(['miss'])
    expect(packsMade(first.id)).toBe(1)
    const second = await run(suite, through(suite), shallow, repository)
    expect(results(suite, second.id).join()).toMatch(HIT)
    const whole = await run(suite, through(suite), full, repository)
    expect(whole.out).toBe((await run(suite, DIRECT, full, repository)).out)
    expect(results(suite, whole.id)).toEqual(['miss'])
    // What the mirror lacked.
    expect([packsMade(second.id), packsMade(whole.id)]).toEqual([0, 1])
  })

  test('upstream sends the bytes of one clone, the mirror included', async () => {
    const repository = await copyOf('main')
    const big =
      'git update-ref refs/tags/big $(head -c 3000000 /dev/urandom | git hash-object -w --stdin)'
    await onUpstream(repository, big)
    const row = { ...(ROWS[0] as Cold), script: 'clone -q --mirror' }
    const direct = await run(suite, DIRECT, row, repository)
    const cached = await run(suite, through(suite), row, repository)
    await untilMirrored(dataOf(suite), `/pub/${repository}`)
    expect(cached.out).toBe(direct.out)
    // Apache writes its line when the answer is over, which may be a moment later.
    await sleep(500)
    const [plain, ours] = [bytesSent(direct.id), bytesSent(cached.id)]
    expect(plain).toBeGreaterThan(3_000_000)
    expect(ours / plain).toBeLessThan(1.02)
  })

  test('two shallow requests for different commits make a mirror, one does not', async () => {
    const repository = await copyOf('main')
    const checkout = (revision: string): Cold => ({
      ...(ROWS[4] as Cold),
      script: `init -q c && oid=$($GIT ls-remote ${DIRECT}/${repository} refs/heads/${revision} | cut -f1) && $GIT -C c fetch -q --no-tags --depth 1 $URL/${repository} $oid && git -C c update-ref refs/heads/x FETCH_HEAD && : `,
    })
    for (const revision of ['side-1', 'side-2', 'side-3']) {
      const ran = await run(suite, through(suite), checkout(revision), repository)
      expect(ran.code, ran.out).toBe(0)
      expect(ran.out).toBe((await run(suite, DIRECT, checkout(revision), repository)).out)
      expect(results(suite, ran.id)).toEqual(['miss'])
      if (revision !== 'side-3') expect(packsMade(ran.id)).toBeGreaterThanOrEqual(1)
      const made = untilMirrored(dataOf(suite), `/pub/${repository}`).then(() => true)
      if (revision === 'side-1') {
        const soon = new Promise((resolve) => setTimeout(() => resolve(false), 2000))
        expect(await Promise.race([made.catch(() => false), soon])).toBe(false)
      }
      if (revision === 'side-2') expect(await made).toBe(true)
      if (revision === 'side-3') expect(packsMade(ran.id)).toBe(0)
    }
  })

  test('progress reaches who asked for it, while upstream makes the pack and while we do', async () => {
    const repository = await copyOf('main')
    const clone = async (options: string) => {
      const id = uniqueId('progress')
      const url = `${through(suite)}/${repository}`
      const command = `git -c http.extraHeader=X-Test:${id} clone ${options} ${url} /w/work/${id}; code=$?; rm -rf /w/work/${id}; exit $code`
      const { code, out } = await sh(client(suite), command)
      expect(code, out).toBe(0)
      return { how: results(suite, id).join(), remote: /remote: /.test(out) }
    }
    expect(await clone('--progress --bare')).toEqual({ how: 'miss', remote: true })
    await untilMirrored(dataOf(suite), `/pub/${repository}`)
    expect(await clone('--progress --bare')).toEqual({ how: 'hit', remote: false })
    expect(await clone('--progress --depth 1')).toEqual({ how: 'miss', remote: true })
    expect(await clone('-q --depth 2')).toEqual({ how: 'miss', remote: false })
  })

  test('a tag that comes before upstream makes the pack: the answer is not for the tags of before', async () => {
    const repository = await copyOf('main', 'echo 3 > late-pack')
    // The tag state is asked before the pack, which reads the refs later: this tag comes in between.
    const cloning = run(suite, through(suite), ROWS[4] as Cold, repository)
    await sleep(1500)
    await onUpstream(repository, 'git tag -a -m late late main')
    const first = await cloning
    expect(results(suite, first.id)).toEqual(['miss'])
    // The tag state, and so the key, of the first again.
    await onUpstream(repository, 'git tag -d late; rm late-pack')
    const direct = await run(suite, DIRECT, ROWS[4] as Cold, repository)
    for (const how of [['miss'], ['hit']]) {
      const next = await run(suite, through(suite), ROWS[4] as Cold, repository)
      expect(next.out).toBe(direct.out)
      expect(results(suite, next.id)).toEqual(how)
      await sleep(1000)
    }
  })

  test.each(['clone -q --depth 1', 'clone -q'])(
    'upstream sends a wrong checksum once: %s is not stored',
    async (script) => {
      const row = { ...(ROWS[0] as Cold), script }
      const repository = await copyOf('main', 'touch bad-pack')
      const first = await run(suite, through(suite), row, repository)
      expect(first.code).not.toBe(0)
      expect(results(suite, first.id)).toEqual(['miss'])
      await sleep(1000)
      const second = await run(suite, through(suite), row, repository)
      expect(second.out).toBe((await run(suite, DIRECT, row, repository)).out)
      expect(results(suite, second.id)).toEqual(['miss'])
    }
  )

  test.each([2, 0] as const)(
    'a checkout is its own probe, v%i: upstream is asked what a direct one asks',
    async (protocol) => {
      const repository = await copyOf('main')
      const operation = {
        name: 'checkout',
        script: `$GIT init -q --bare c && $GIT -C c fetch -q --no-tags --depth 1 $URL/${repository} HEAD`,
      }
      const checkout = (url: string) =>
        runCell({ nginx: suite, git: suite, protocol, operation }, url, 'own')
      const asked = (id: string) =>
        linesOf('upstream.log').filter((line) => line.startsWith(`${id}\t`)).length
      const direct = await checkout(DIRECT)
      for (const expected of [MISS, HIT]) {
        const cached = await checkout(through(suite))
        expect(cached.out).toBe(direct.out)
        expect(results(suite, cached.id).at(-1)).toMatch(expected)
        // Of a hit: the probe stands where the fetch was.
        expect(asked(cached.id)).toBe(asked(direct.id))
      }
    }
  )

  test('two different whole clones at once: one transfer', async () => {
    const repository = await copyOf('main', `${BIG}; touch slow-pack`)
    const [all, one] = ['clone -q --mirror', 'clone -q --single-branch --no-tags'].map(
      (script): Cold => ({ ...(ROWS[0] as Cold), script })
    ) as [Cold, Cold]
    const cloning = run(suite, through(suite), all, repository)
    await sleep(1000)
    const second = await run(suite, through(suite), one, repository)
    const first = await cloning
    expect(first.out).toBe((await run(suite, DIRECT, all, repository)).out)
    expect(second.out).toBe((await run(suite, DIRECT, one, repository)).out)
    expect([results(suite, first.id), results(suite, second.id)]).toEqual([['miss'], ['miss']])
    expect([packsMade(first.id), packsMade(second.id)]).toEqual([1, 0])
  })

  test('upstream sends damaged objects under a right checksum: they do not outlive its repair', async () => {
    const repository = await makeRepository('rotten', ROTTEN)
    const shallow = ROWS[4] as Cold
    const first = await run(suite, through(suite), shallow, repository)
    expect(results(suite, first.id)).toEqual(['miss'])
    expect(first.code).not.toBe(0)
    await onUpstream(repository, REPAIRED)
    const direct = await run(suite, DIRECT, shallow, repository)
    expect(direct.code).toBe(0)
    await expect
      .poll(async () => (await run(suite, through(suite), shallow, repository)).out, {
        timeout: 60_000,
      })
      .toBe(direct.out)
  })

  test.each<[what: string, protocol: 0 | 2, script: string]>([
    ['depth 2', 2, 'clone -q --depth 2'],
    ['without blobs, v0', 0, 'clone -q --bare --filter=blob:none'],
  ])('answers of a shallow upstream do not outlive it: %s', async (name, protocol, script) => {
    const whole = await makeRepository('whole', 'for i in 1 2 3 4; do commit main $i; done')
    const repository = await copyOf('shallow', 'rm -rf * .git*')
    await onUpstream(
      repository,
      `cd ..; rm -rf ${repository}; git clone -q --bare --depth 1 file:///w/repos/${whole} ${repository}
git -C ${repository} config uploadpack.allowFilter true`
    )
    const row: Cold = { name, from: '', protocol, script, first: MISS, second: HIT }
    const state = protocol === 0 ? { state: 'partial' as const } : {}
    const asked = (url: string) => run(suite, url, { ...row, ...state }, repository)
    const first = await asked(through(suite))
    expect(first.out).toBe((await asked(DIRECT)).out)
    expect(results(suite, first.id).at(-1)).toBe('miss')
    await onUpstream(repository, 'git fetch -q --unshallow')
    const direct = await asked(DIRECT)
    expect(direct.out).not.toBe(first.out)
    await expect
      .poll(async () => (await asked(through(suite))).out, { timeout: 60_000 })
      .toBe(direct.out)
  })

  test('upstream refuses the fetch itself: the client hears it, nothing is stored', async () => {
    const repository = await makeRepository('refused', 'commit main one; echo 403 > on-done')
    const name = ROWS[0] as Cold
    const direct = await run(suite, DIRECT, name, repository)
    const cached = await run(suite, through(suite), name, repository)
    expect(cached.out).toBe(direct.out)
    expect(results(suite, cached.id)).toEqual(['pass; reason=refused'])
    await must(stack().upstream, `rm /w/repos/${repository}/on-done`)
    const after = await run(suite, through(suite), name, repository)
    expect(after.code).toBe(0)
    expect(results(suite, after.id)).toEqual(['miss'])
  })
})
