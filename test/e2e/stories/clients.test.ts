/**
 * Other clients than git: each clones through the cache what it clones straight from upstream, and
 * the second clone is a hit. They cannot send X-Test, so each test has a first path segment of its
 * own (to upstream it is all the same), and with it a mirror and stored answers of its own.
 */
import { afterAll, describe, expect, test } from 'vitest'
import { answered, logs, must, sh, stack, uniqueId } from '../support/servers.ts'
import { SUITES, type Suite } from '../support/stack.ts'
import { chosen, onEachNginx } from '../support/versions.ts'

interface Client {
  name: string
  /** `clone URL DIR [--depth N]`, `fetch DIR`. */
  command: string
  fetch?: string
  /** How its fetch of what is new is answered. */
  fetched: RegExp
}

const V0 = /^pass; reason=v0-haves(,pass; reason=v0-haves)*$/
const SERVED = /^(miss|hit)(,(miss|hit))*$/

const CLIENTS: Client[] = [
  { name: 'isomorphic-git', command: '/opt/clients/iso-client.mjs', fetched: V0 },
  { name: 'dulwich', command: '/opt/clients/dulwich-client.py', fetched: SERVED },
  { name: 'jgit', command: 'jgit', fetch: 'cd c && jgit fetch', fetched: SERVED },
  { name: 'libgit2', command: '/opt/clients/pygit2-client.py', fetched: V0 },
  { name: 'go-git', command: 'go-git-client', fetched: V0 },
]

/** All clients here, one each on the others: what differs there is nginx, not the client. */
const WHOLE: Suite = 'trixie'

const HIT = /^hit$/
/** libgit2 asks for the shallow lines first, in a request without `done`. */
const DEPTH_FIRST = /^pass; reason=v0-no-done,hit$/

interface Row {
  nginx: Suite
  client: Client
  depth: boolean
  expected: RegExp
}

const rows: Row[] = SUITES.flatMap((nginx, n) =>
  CLIENTS.filter((_, c) => nginx === WHOLE || c === n || c === n + 2).flatMap((client) =>
    [false, true].map((depth) => ({
      nginx,
      client,
      depth,
      expected: depth && client.name === 'libgit2' ? DEPTH_FIRST : HIT,
    }))
  )
)

const titled = rows.map((row) => ({
  title: `${row.client.name}${row.depth ? ', depth 1' : ''}`,
  ...row,
}))

const ran = new Map<string, number>()

function count(nginx: Suite, client: Client): void {
  const key = `cells: nginx of ${nginx}, client ${client.name}`
  ran.set(key, (ran.get(key) ?? 0) + 1)
}

/** Clones `${base}/main.git` and says what is in the clone. */
async function clone(client: Client, base: string, options: string): Promise<string> {
  const dir = `/w/work/${uniqueId('client')}`
  const script = `
. /w/state.sh
mkdir -p ${dir} && cd ${dir} || exit 9
${client.command} clone ${base}/main.git c ${options} > log 2>&1 || { cat log; exit 1; }
state c full
cd / && rm -rf ${dir}`
  return must(stack().upstream, script)
}

/** How the fetches below a first segment were answered since the last time that this was asked. */
function watch(nginx: Suite, segment: string): () => string[] {
  const fetches = () =>
    answered(nginx, '-')
      .filter((row) => row.uri.startsWith(`/${segment}/`) && row.uri.endsWith('/git-upload-pack'))
      .map((row) => row.result)
      .filter((result) => result !== 'pass; reason=ls-refs')
  let seen = fetches().length
  return () => {
    const all = fetches()
    const since = all.slice(seen)
    seen = all.length
    return since
  }
}

/** Clones until the answer is stored; what each clone has must be what a direct one has. */
async function warmed(
  client: Client,
  bases: { direct: string; cached: string },
  options: string,
  since: () => string[]
): Promise<string> {
  const direct = await clone(client, bases.direct, options)
  for (let i = 0; i < 50; i++) {
    expect(await clone(client, bases.cached, options), logs()).toBe(direct)
    if (!since().some((result) => /^(miss|join)$/.test(result))) break
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
  return direct
}

describe('clones by clients other than git', () => {
  onEachNginx((nginx) => {
    const own = titled.filter((row) => row.nginx === nginx)
    test.concurrent.each(own)('$title', async ({ client, depth, expected }) => {
      const segment = uniqueId(client.name).toLowerCase()
      const bases = {
        direct: `http://upstream/${segment}`,
        cached: `http://nginx-${nginx}:8080/${segment}`,
      }
      const options = depth ? '--depth 1' : ''
      const since = watch(nginx, segment)
      const direct = await warmed(client, bases, options, since)
      expect(await clone(client, bases.cached, options), logs()).toBe(direct)
      expect(since().join(',')).toMatch(expected)
      count(nginx, client)
    })
  })
})

describe('JGit sends gzip, and an upstream that compresses everything answers in gzip', () => {
  const jgit = CLIENTS.find(({ name }) => name === 'jgit') as Client
  onEachNginx((nginx) => {
    test('whole clone', async () => {
      const since = watch(nginx, 'gz')
      const bases = { direct: 'http://upstream/gz', cached: `http://nginx-${nginx}:8080/gz` }
      const direct = await warmed(jgit, bases, '', since)
      expect(await clone(jgit, bases.cached, ''), logs()).toBe(direct)
      expect(since().join(',')).toMatch(HIT)
      count(nginx, jgit)
    })
  })
})

describe('fetches of what is new', () => {
  test.concurrent.each(CLIENTS)('$name', async (client) => {
    const segment = uniqueId(`fetch-${client.name}`).toLowerCase()
    const since = watch(WHOLE, segment)
    const results: string[] = []
    for (const base of ['http://upstream', `http://nginx-${WHOLE}:8080`]) {
      const dir = `/w/work/${uniqueId('fetch')}`
      // A fetch of the same clone: its origin moves to a repository that has more.
      const script = `
. /w/state.sh
mkdir -p ${dir} && cd ${dir} || exit 9
${client.command} clone ${base}/${segment}/inc-old.git c > log 2>&1 || { cat log; exit 1; }
git -C c remote set-url origin ${base}/${segment}/inc-new.git
( ${client.fetch ?? `${client.command} fetch c`} ) > log 2>&1 || { cat log; exit 1; }
state c full
cd / && rm -rf ${dir}`
      const { code, out } = await sh(stack().upstream, script)
      results.push(`exit ${code}\n${out}`)
    }
    expect(results[1], logs()).toBe(results[0])
    expect(results[0]).toMatch(/^exit 0\n/)
    const [cloned, ...fetched] = since()
    expect(cloned).toMatch(/^(miss|join|hit)$/)
    expect(fetched.join(',')).toMatch(client.fetched)
    count(WHOLE, client)
  })
})

afterAll(() => {
  for (const { nginx, client } of rows.filter(({ nginx }) => chosen().includes(nginx))) {
    const key = `cells: nginx of ${nginx}, client ${client.name}`
    if (!ran.has(key)) ran.set(key, 0)
  }
  for (const [key, cells] of ran) {
    console.log(`${key}: ${cells}`)
    expect(cells, key).toBeGreaterThan(0)
  }
})
