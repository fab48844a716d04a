/**
 * Real clients at work while the sidecar, its git children and nginx's workers are killed at random:
 * nobody gets something else than upstream has, nobody fails but who was being sent an answer by the
 * very process that was killed; he is told that it is incomplete, and his next try works.
 * `npm run soak` runs more of it.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Pair, startPair } from '../support/pair.ts'
import { basic, copyOf, DIRECT, onUpstream } from '../support/repositories.ts'
import { client, must, type Ran, results, sh, stack, suites, uniqueId } from '../support/servers.ts'
import type { Suite } from '../support/stack.ts'
import { onOneNginx } from '../support/versions.ts'

const OPERATIONS = Number(process.env.GITCACHE_SOAK_OPERATIONS ?? 60)
const SEED = Number(process.env.GITCACHE_SOAK_SEED ?? Date.now() % 2 ** 31)
const WORKERS = 4
const TRIES = 5
const INCOMPLETE =
  /early EOF|unexpected disconnect|RPC failed|Empty reply|Recv failure|transfer closed|hung up|expected (flush|response end)|connect to|remote error|unable to access/
/** An answer, and not a cut. */
const REFUSED = /returned error: \d|HTTP [45]\d\d|not our ref/
/** git sends a push again on another connection when the first is cut, where upstream has taken it. */
const TAKEN = /cannot lock ref/

/** Numbers from 0 to `below`, the same for the same seed. Numerical Recipes' generator. */
function random(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

/** Each leaves a clone `c` that has what upstream has. $O is the origin, $R the repository. */
const OPERATIONS_OF: Record<string, string> = {
  clone: 'g clone -q $O/$R c',
  mirror: 'g clone -q --mirror $O/$R c',
  'depth 1': 'g clone -q --depth 1 $O/$R c',
  'depth 3, all branches': 'g clone -q --depth 3 --no-single-branch $O/$R c',
  'one branch': 'g clone -q --single-branch $O/$R c',
  'no tags': 'g clone -q --bare --no-tags $O/$R c',
  deepened: 'g clone -q --depth 1 $O/$R c && g -C c fetch -q --unshallow',
  fetch: 'cp -a old/ c && g -C c fetch -q $O/$R "+refs/*:refs/*"',
  partial: 'g clone -q --filter=blob:none --no-checkout $O/$R c && g -C c checkout -q',
  push: 'g clone -q $O/$R c && git -C c -c user.name=a -c user.email=a@example.org commit -q --allow-empty -m pushed && g -C c push -q $O/$R HEAD:main && g -C c fetch -q',
}

interface Tally {
  operations: number
  kills: Record<string, number>
  /** Cut in the middle by a kill, told so, and right at a later try. */
  cut: number
  /** What must not be. */
  wrong: string[]
  how: Record<string, number>
}

onOneNginx((suite) => {
  const sidecar = stack().sidecar[suite] as string
  const name = uniqueId('chaos')
  const tally: Tally = { operations: 0, kills: {}, cut: 0, wrong: [], how: {} }
  let pair: Pair

  beforeAll(async () => {
    pair = await startPair({ name, suite, args: ['--make-mirrors', 'always'] })
  })
  afterAll(() => pair.stop())

  const KILLS: [name: string, act: () => Promise<unknown>][] = [
    [
      'sidecar',
      async () => {
        await pair.signalSidecar('SIGKILL')
        await sleep(300)
        await pair.startSidecar()
      },
    ],
    [
      'git child',
      () => sh(sidecar, `pgrep -f '[g]it .*${name}' | shuf -n 1 | xargs -r kill -KILL`),
    ],
    [
      'nginx worker',
      () => sh(client(suite), `pgrep -P "$(cat ${pair.pid})" | shuf -n 1 | xargs -r kill -KILL`),
    ],
  ]

  async function killUntil(over: () => boolean, below: (n: number) => number): Promise<void> {
    while (!over()) {
      await sleep(1000 + below(2000))
      const [what = '', act] = KILLS[below(KILLS.length)] ?? []
      await act?.()
      tally.kills[what] = (tally.kills[what] ?? 0) + 1
    }
  }

  interface Client {
    repository: string
    /** Whose git it runs. */
    git: Suite
    old: string
  }

  function run(origin: string, id: string, what: string, protocol: number, who: Client) {
    // Upstream takes pushes with a password only.
    const secret = what === 'push' || who.repository.startsWith('priv/')
    const script = `. /w/state.sh; export GIT_TERMINAL_PROMPT=0; O=${origin}; R=${who.repository}
g() { git -c gc.auto=0 -c maintenance.auto=false -c protocol.version=${protocol} -c http.extraHeader=X-Test:${id} ${secret ? '-c http.extraHeader="$AUTH"' : ''} "$@"; }
mkdir -p /w/work/${id} && cd /w/work/${id} && ln -s ${who.old} old && { ${OPERATIONS_OF[what]}; }; code=$?
[ $code -eq 0 ] && state c ${what === 'partial' ? 'partial' : 'full'} | grep -v promisor
rm -rf /w/work/${id}; exit $code`
    return sh(client(who.git), script, { AUTH: basic('alice') })
  }

  /** Through the cache until it works, and straight from upstream. */
  async function operate(what: string, protocol: number, who: Client): Promise<void> {
    const label = `${what}, v${protocol}, ${who.repository}`
    let ran: Ran = { code: -1, out: '' }
    for (let i = 0; i < TRIES && ran.code !== 0; i++) {
      const id = uniqueId('chaos')
      ran = await run(pair.url, id, what, protocol, who)
      for (const how of results(suite, id, pair.log)) tally.how[how] = (tally.how[how] ?? 0) + 1
      if (ran.code === 0) break
      tally.cut += 1
      const cut = INCOMPLETE.test(ran.out) && !REFUSED.test(ran.out)
      const told = cut || (what === 'push' && TAKEN.test(ran.out))
      if (!told) tally.wrong.push(`${label}: ${ran.out}`)
    }
    if (ran.code !== 0) tally.wrong.push(`${label}: does not work again`)
    // A push has moved upstream's branch: what it left is compared with a plain clone.
    const again = what === 'push' ? 'clone' : what
    const direct = await run(DIRECT, uniqueId('direct'), again, protocol, who)
    const state = (out: string) => out.replaceAll(pair.url, DIRECT)
    if (state(ran.out) !== direct.out) {
      tally.wrong.push(`${label}: different\n${ran.out}\n--- direct\n${direct.out}`)
    }
    tally.operations += 1
  }

  async function work(seed: number): Promise<void> {
    const below = random(seed)
    const gits = suites()
    const names = Object.keys(OPERATIONS_OF)
    const push = 'git config http.receivepack true'
    const copies = [
      await copyOf('main', push),
      await copyOf('small', push),
      await copyOf('main', push),
    ]
    const repositories = [`pub/${copies[0]}`, `pub/${copies[1]}`, `priv/${copies[2]}`]
    const old = `/w/work/${uniqueId('old')}`
    await must(
      client(suite),
      `git clone -q --mirror ${DIRECT}/pub/${copies[0]} ${old} && git -C ${old} update-ref refs/heads/main refs/heads/main~3`
    )
    for (let i = 0; i < OPERATIONS / WORKERS; i++) {
      const which = below(3)
      const what = names[below(names.length)] ?? ''
      const fetching = what === 'fetch'
      const repository = repositories[fetching ? 0 : which] ?? ''
      if (below(3) === 0) {
        await onUpstream(path(repository), `commit main file-${seed}-${i}`)
      }
      // What a partial clone lacks is fetched by id, which v0 servers refuse.
      const git = gits[below(gits.length)] as Suite
      const protocol = what === 'partial' ? 2 : below(3)
      await operate(what, protocol, { repository, git, old })
    }
    await must(client(suite), `rm -rf ${old}`)
  }

  test(`${OPERATIONS} operations while everything is killed, seed ${SEED}`, async () => {
    let over = false
    const killing = killUntil(() => over, random(SEED))
    await Promise.all(Array.from({ length: WORKERS }, (_, i) => work(SEED + 1 + i)))
    over = true
    await killing
    console.log(JSON.stringify({ ...tally, wrong: tally.wrong.length, seed: SEED }))
    expect(tally.wrong, `seed ${SEED}`).toEqual([])
    expect(tally.operations).toBeGreaterThanOrEqual(OPERATIONS)
    // A cache that only passes would look well here.
    const cached = (tally.how.hit ?? 0) + (tally.how.miss ?? 0) + (tally.how.join ?? 0)
    expect(cached).toBeGreaterThan(tally.operations / 4)
  }, 3_600_000)
})

/** Below /w/repos. */
function path(repository: string): string {
  return repository.replace(/^(pub|priv)\//, '')
}
