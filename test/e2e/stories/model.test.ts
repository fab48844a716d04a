/**
 * Random sequences of what clients do, on two clones of one repository, straight from upstream and
 * through the cache, while upstream commits, tags, force-pushes, deletes and prunes. After each
 * step both have the same refs, shallow boundary, objects and fsck, and git said the same.
 * GITCACHE_TEST_SEED replays a run; GITCACHE_TEST_FULL=1 runs thousands of steps.
 */
import fc from 'fast-check'
import { afterAll, expect, test } from 'vitest'
import { client, logs, must, requests, sh, stack, suites, uniqueId } from '../support/servers.ts'
import { SUITES, type Suite } from '../support/stack.ts'

const SEQUENCES = process.env.GITCACHE_TEST_FULL === '1' ? 100 : 10
const STEPS = 22
const SEED = Number(process.env.GITCACHE_TEST_SEED ?? Date.now() % 1_000_000)

/** Steps on upstream: shell, in the repository; $n is the step's number. */
const UPSTREAM = {
  commit: 'b=$(pick heads); new $b',
  branch: 'git update-ref refs/heads/b$n $(git rev-parse main~$((n % 3)))',
  tag: 'git tag -f -a -m t$n t$((n % 4)) $(git rev-parse main~$((n % 3)))',
  'tag on a tree': 'git tag -f tree$((n % 2)) main^{tree}',
  'force push': 'git update-ref refs/heads/main main~2; new main; new main',
  'delete a branch': 'b=$(pick heads); [ $b = main ] || git update-ref -d refs/heads/$b',
  'delete a tag': 'git update-ref -d refs/tags/$(pick tags) || true',
  prune: 'git reflog expire --expire=now --all; git repack -qad; git prune --expire=now',
}

/** Steps of a client, in its clone. */
const CLIENT = {
  fetch: '$GIT fetch -q',
  'fetch --prune --tags': '$GIT fetch -q --prune --tags',
  'fetch --no-tags main': '$GIT fetch -q --no-tags origin main',
  'fetch --depth 1': '$GIT fetch -q --depth 1 origin main',
  'fetch --depth 4': '$GIT fetch -q --depth 4',
  'fetch --unshallow': '$GIT fetch -q --unshallow || true',
  'fetch --deepen': '$GIT fetch -q --deepen 1',
  'local commit': 'git commit -q --allow-empty -m local$n',
  'fetch into a new clone --depth 1':
    'rm -rf ../d; $GIT clone -q --depth 1 $URL ../d && state ../d full',
  'fetch into a new clone --single-branch':
    'rm -rf ../d; $GIT clone -q --single-branch $URL ../d && state ../d full',
  'fetch into a new clone --bare': 'rm -rf ../d; $GIT clone -q --bare $URL ../d && state ../d full',
  'fetch into a partial clone':
    'rm -rf ../d; $GIT clone -q --filter=blob:none $URL ../d && state ../d partial',
}

type Step =
  | { side: 'upstream'; name: keyof typeof UPSTREAM }
  | { side: 'client'; name: keyof typeof CLIENT }

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 1,
    arbitrary: fc
      .constantFrom(...(Object.keys(UPSTREAM) as (keyof typeof UPSTREAM)[]))
      .map((name) => ({ side: 'upstream' as const, name })),
  },
  {
    weight: 2,
    arbitrary: fc
      .constantFrom(...(Object.keys(CLIENT) as (keyof typeof CLIENT)[]))
      .map((name) => ({ side: 'client' as const, name })),
  }
)

const sequence = fc.record({
  protocol: fc.constantFrom(0, 1, 2, 2, 2),
  format: fc.constantFrom('sha1', 'sha1', 'sha256'),
  git: fc.constantFrom(...SUITES),
  steps: fc.array(step, { minLength: STEPS, maxLength: STEPS }),
})

type Sequence = typeof sequence extends fc.Arbitrary<infer T> ? T : never

const DATES =
  'export GIT_AUTHOR_DATE="$((1700000000 + n * 60)) +0000" GIT_COMMITTER_DATE="$((1700000000 + n * 60)) +0000" GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org'
const UPSTREAM_SHELL = `${DATES}
pick() { git for-each-ref --format='%(refname:lstrip=2)' refs/$1 | awk -v n=$n '{ l[NR] = $0 } END { if (NR) print l[n % NR + 1] }'; }
new() { blob=$(seq 1 $((n % 9 + 3)) | sed "s/$/ $n $1/" | git hash-object -w --stdin)
  tree=$({ git ls-tree $1 | grep -v "f$((n % 5))$"; printf '100644 blob %s\\tf%s\\n' $blob $((n % 5)); } | git mktree)
  git update-ref refs/heads/$1 $(git commit-tree -m $n -p $1 $tree); }`

async function onUpstream(name: string, n: number, script: string): Promise<void> {
  await must(
    stack().upstream,
    `cd /w/repos/${name}; n=${n}; ${UPSTREAM_SHELL}\n${script}\nchown -R www-data .`
  )
}

interface Run extends Sequence {
  name: string
  suite: Suite
}

/** The same step on all clones: straight, through the cache, and once more through it, for a hit. */
async function onAll(run: Run, n: number, script: string): Promise<string[]> {
  const { name, suite } = run
  const cache = `http://nginx-${suite}:8080/pub/${name}`
  const git = `git -c gc.auto=0 -c maintenance.auto=false -c protocol.version=${run.protocol}`
  const outs: string[] = []
  for (const [i, url] of [`http://upstream/pub/${name}`, cache, cache].entries()) {
    const dir = `/w/work/${name}-${i}`
    const { code, out } = await sh(
      client(run.git),
      `. /w/state.sh; n=${n}; ${DATES}\nmkdir -p ${dir}/c; cd ${dir}/c; git remote set-url origin $URL 2>/dev/null\n${script}\ncode=$?; cd ${dir}; state c full; echo "exit $code"`,
      { URL: url, GIT: git }
    )
    outs.push(`${out.replaceAll(url, 'URL').replaceAll(dir, 'DIR')} ${code}`)
  }
  return outs
}

async function play(run: Run, title: string): Promise<void> {
  const { name } = run
  await must(
    stack().upstream,
    `git init -q --bare --template= --object-format=${run.format} -b main /w/repos/${name}; git -C /w/repos/${name} config uploadpack.allowFilter true`
  )
  await onUpstream(
    name,
    1,
    'git update-ref refs/heads/main $(git commit-tree -m base $(git hash-object -t tree -w /dev/null)); for n in 2 3 4 5 6; do new main; done; git tag -a -m t0 t0 main~2'
  )
  const done: string[] = []
  const clone = `cd ..; rm -rf c; $GIT clone -q $URL c`
  const steps: [string, string][] = [
    ['clone', clone],
    ...run.steps.map((s): [string, string] => [s.name, s.side === 'client' ? CLIENT[s.name] : '']),
  ]
  for (const [i, [label, script]] of steps.entries()) {
    done.push(label)
    const n = i + 10
    if (script === '') {
      await onUpstream(name, n, UPSTREAM[label as keyof typeof UPSTREAM])
      continue
    }
    const [direct, first, second] = await onAll(run, n, script)
    expect([first, second], `${title}, after: ${done.join(', ')}\n${logs()}`).toEqual([
      direct,
      direct,
    ])
  }
  await must(stack().upstream, `rm -rf /w/repos/${name} /w/work/${name}-*`)
}

const runs = fc.sample(sequence, { seed: SEED, numRuns: SEQUENCES })

test.concurrent.each(runs.map((run, i) => ({ i, run })))(
  `seed ${SEED}, sequence $i`,
  async ({ i, run }) => {
    const suite = suites()[i % suites().length] as Suite
    const title = `seed ${SEED}, sequence ${i}: git of ${run.git}, v${run.protocol}, ${run.format}, nginx of ${suite}`
    await play({ ...run, name: `${uniqueId('model')}.git`, suite }, title)
  }
)

/** A cache that never answers would look perfect. */
afterAll(() => {
  const results = suites().flatMap((suite) => requests(suite, '/pub/model-'))
  const made = results.filter((row) => /^(hit|miss|join)$/.test(row.result))
  console.log(`model: ${results.length} requests, ${made.length} answered by the cache`)
  expect(made.filter((row) => row.result === 'hit').length).toBeGreaterThan(SEQUENCES)
})
