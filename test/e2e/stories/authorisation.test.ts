/**
 * Upstream decides who gets what, on every request: what a client gets through the cache, warm, is
 * what it gets straight from upstream, whatever it asks for and whoever it says it is.
 */
import { createHash } from 'node:crypto'
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { beforeAll, expect, test } from 'vitest'
import {
  basic,
  cacheOf,
  DIRECT,
  makeRepository,
  oidOf,
  onUpstream,
  warmUp,
} from '../support/repositories.ts'
import { client, must, packsMade, sh, stack, uniqueId } from '../support/servers.ts'
import { onEachNginx } from '../support/versions.ts'
import { type Ask, ask, askBoth, fetchV0, fetchV2, hasPack } from '../support/wire.ts'

const ALICE = basic('alice')
const BOB = basic('bob')
const POST = '/git-upload-pack'

onEachNginx((suite) => {
  const cache = cacheOf(suite)
  let solo = ''
  let team = ''
  let main = ''
  let token = ''

  beforeAll(async () => {
    solo = await makeRepository('authz', 'commit main one; commit main two')
    team = await makeRepository('authz', 'commit main ours; commit main plans', 'team.git')
    main = await oidOf(solo, 'main')
    token = solo
    const header = (line: string) => `-c http.extraHeader='${line}'`
    await warmUp(suite, `/priv/${solo}`, header(ALICE))
    await warmUp(suite, `/priv/${team}`, header(ALICE))
    await warmUp(suite, `/pub/${solo}`)
    await warmUp(suite, `/token/${token}`, header('X-Token: sesame'))
    await warmUp(suite, `/closedpost/${solo}`, header(ALICE))
  })

  /** The same request to both; what was answered, and whether with a pack. */
  async function same(request: Ask) {
    const { direct, cached } = await askBoth(suite, request)
    return { ...cached, direct: direct.status, pack: hasPack(cached), how: cached.results.join() }
  }

  const clone = (oid: string) =>
    fetchV2('thin-pack', 'no-progress', 'ofs-delta', `want ${oid}`, 'done')

  test('who calls us by another name gets nothing that was stored under this one', async () => {
    const request = { path: `/priv/${solo}${POST}`, body: clone(main) }
    const byName = async (host: string) => {
      const headers = [ALICE, `Host: ${host}`]
      return (await ask(suite, cache, { ...request, headers })).results.join()
    }
    expect(await byName('git.evil.test')).toMatch(/^(miss|join)/)
    await expect.poll(() => byName('git.evil.test')).toBe('hit')
    expect(await byName('git.evil.test:81')).toMatch(/^(miss|join)/)
    expect((await same({ ...request, headers: [ALICE] })).how).toBe('hit')
  })

  test('the owner gets the stored answer, and nobody else', async () => {
    const request = { path: `/priv/${solo}${POST}`, body: clone(main) }
    const owner = await same({ ...request, headers: [ALICE] })
    expect(owner).toMatchObject({ status: 200, pack: true, how: 'hit' })
    expect(packsMade(owner.id)).toBe(0)
    const refused = { status: 401, pack: false, how: 'pass; reason=refused' }
    expect(await same(request)).toMatchObject(refused)
    expect(await same({ ...request, headers: [basic('alice', 'wrong')] })).toMatchObject(refused)
    expect(await same({ ...request, headers: [basic('eve')] })).toMatchObject(refused)
    const bearer = ['Authorization: Bearer alice-secret']
    expect(await same({ ...request, headers: bearer })).toMatchObject(refused)
    expect(await same({ ...request, headers: [BOB] })).toMatchObject({ pack: true, how: 'hit' })
  })

  test.each([2, 0] as const)(
    'an answer on its way to its owner, who was not probed, is for whom upstream lets: v%i',
    async (protocol) => {
      const slow = await makeRepository('way', 'commit main one; touch slow-pack')
      const oid = await oidOf(slow, 'main')
      const body = protocol === 2 ? clone(oid) : fetchV0(`want ${oid}`)
      const request = { path: `/priv/${slow}${POST}`, body, protocol }
      const owner = ask(suite, cache, { ...request, headers: [ALICE] })
      await sleep(1000)
      const others = await Promise.all([
        ask(suite, cache, request),
        ask(suite, cache, { ...request, headers: [basic('alice', 'wrong')] }),
        ask(suite, cache, { ...request, headers: [BOB] }),
      ])
      expect(await owner).toMatchObject({ status: 200, header: 'miss' })
      expect(others.map(({ status }) => status)).toEqual([401, 401, 200])
      expect(others.map(hasPack)).toEqual([false, false, true])
      expect(others[2]?.header).toMatch(/^(join|hit)$/)
      expect(others[2]?.body.equals((await owner).body)).toBe(true)
    }
  )

  test("who asks first and may not gets upstream's own words, and keeps nothing from who may", async () => {
    const fresh = await makeRepository('first', 'commit main one')
    const request = { path: `/priv/${fresh}${POST}`, body: clone(await oidOf(fresh, 'main')) }
    const refused = { status: 401, pack: false, how: 'pass; reason=refused' }
    expect(await same(request)).toMatchObject(refused)
    expect(await same({ ...request, headers: [basic('eve')] })).toMatchObject(refused)
    const owner = await same({ ...request, headers: [ALICE] })
    expect(owner).toMatchObject({ status: 200, pack: true, how: 'miss' })
  })

  test('whom upstream refuses is not told what the cache has', async () => {
    const known = await makeRepository('known', 'commit main one; commit main two')
    const unknown = await makeRepository('unknown', 'commit main other')
    const [tip, parent, blob] = await Promise.all(
      ['main', 'main~1', 'main:one'].map((revision) => oidOf(known, revision))
    )
    const other = await oidOf(unknown, 'main')
    const none = 'f'.repeat(40)
    const bodies = [tip, parent, blob, other, none].flatMap((oid) => [
      clone(oid ?? ''),
      fetchV2('no-progress', 'deepen 1', `want ${oid}`, 'done'),
      fetchV2('no-progress', 'include-tag', `want ${oid}`, 'done'),
      fetchV2('no-progress', `want ${oid}`, `have ${tip}`, 'done'),
    ])
    const answers = async () => {
      const paths = [known, unknown].map((name) => `/priv/${name}${POST}`)
      const asked = paths.flatMap((path) => bodies.map((body) => ({ path, body })))
      const seen = await Promise.all(asked.map((request) => ask(suite, cache, request)))
      return [...new Set(seen.map(({ status, header }) => `${status} ${header}`))]
    }
    const before = await answers()
    const header = `-c http.extraHeader='${ALICE}'`
    await warmUp(suite, `/priv/${known}`, header)
    const checkout = { path: `/priv/${known}${POST}`, headers: [ALICE] }
    const owner = await ask(suite, cache, { ...checkout, body: bodies[1] ?? '' })
    expect(hasPack(owner)).toBe(true)
    expect(before).toEqual(['401 pass; reason=refused'])
    expect(await answers()).toEqual(before)
  })

  test('a repository that another user may not read', async () => {
    const oid = await oidOf(team, 'main')
    const request = { path: `/priv/${team}${POST}`, body: clone(oid) }
    expect(await same({ ...request, headers: [ALICE] })).toMatchObject({ pack: true, how: 'hit' })
    const bob = await same({ ...request, headers: [BOB] })
    expect(bob).toMatchObject({ status: 403, pack: false, how: 'pass; reason=refused' })
    const v0 = fetchV0(`want ${oid}`)
    const old = await same({ ...request, body: v0, protocol: 0, headers: [BOB] })
    expect(old).toMatchObject({ status: 403, pack: false })
  })

  test('git itself is told the same', async () => {
    const script = (origin: string) =>
      `export GIT_TERMINAL_PROMPT=0; cd /tmp; for url in '' alice:wrong@ bob:bob-secret@; do git clone -q --bare "$(echo ${origin} | sed "s,//,//$url,")/priv/${team}" x 2>&1; echo "exit $?"; done`
    const told = async (origin: string) => {
      const { out } = await sh(client(suite), script(origin))
      return out.replaceAll(origin.slice(7), 'HOST')
    }
    expect(await told(cache)).toBe(await told(DIRECT))
  })

  test('a custom header that upstream asks for', async () => {
    const request = { path: `/token/${token}${POST}`, body: clone(main) }
    const known = await same({ ...request, headers: ['X-Token: sesame'] })
    expect(known).toMatchObject({ pack: true, how: 'hit' })
    const refused = { status: 403, pack: false }
    expect(await same(request)).toMatchObject(refused)
    expect(await same({ ...request, headers: ['X-Token: other'] })).toMatchObject(refused)
    expect(await same({ ...request, headers: [ALICE] })).toMatchObject(refused)
  })

  test('open refs, closed fetch', async () => {
    const request = { path: `/closedpost/${solo}${POST}`, body: clone(main) }
    const refs = await same({ path: `/closedpost/${solo}/info/refs?service=git-upload-pack` })
    expect(refs.status).toBe(200)
    expect(await same(request)).toMatchObject({ status: 401, pack: false })
    expect(await same({ ...request, headers: [ALICE] })).toMatchObject({ pack: true, how: 'hit' })
  })

  test('a right that is taken away between the advertisement and the fetch', async () => {
    const path_ = `/pub/${solo}`
    const request = { path: `${path_}${POST}`, body: clone(main) }
    const refs = { path: `${path_}/info/refs?service=git-upload-pack` }
    expect(await same(request)).toMatchObject({ pack: true, how: 'hit' })
    expect((await same(refs)).status).toBe(200)
    await onUpstream(solo, 'touch git-upload-pack.refused')
    expect(await same(request)).toMatchObject({ status: 403, pack: false })
    await onUpstream(solo, 'rm git-upload-pack.refused')
    expect(await same(request)).toMatchObject({ pack: true, how: 'hit' })
  })

  test('a user who is removed', async () => {
    const file = path.join(stack().dir, 'upstream/htpasswd')
    const user = uniqueId('carol')
    const hash = createHash('sha1').update('secret').digest('base64')
    appendFileSync(
      file,
      `${user}:{SHA}${hash}
`
    )
    const request = { path: `/priv/${solo}${POST}`, body: clone(main) }
    const headers = [basic(user, 'secret')]
    try {
      expect(await same({ ...request, headers })).toMatchObject({ pack: true, how: 'hit' })
    } finally {
      const others = readFileSync(file, 'utf8').split('\n')
      writeFileSync(file, others.filter((one) => !one.startsWith(`${user}:`)).join('\n'))
    }
    expect(await same({ ...request, headers })).toMatchObject({ status: 401, pack: false })
  })

  const plain = (name: string, write: (repository: string) => string) => ({ name, write })
  test.each([
    plain('with ..', (r) => `/pub/x/../${r}`),
    plain('with %2e%2e', (r) => `/pub/x/%2e%2e/${r}`),
    plain('with %2f', (r) => `/pub%2f${r}`),
    plain('with //', (r) => `/pub//${r}`),
    plain('with /./', (r) => `/pub/./${r}`),
    plain('in upper case', (r) => `/pub/${r.toUpperCase()}`),
    plain('with a slash at the end', (r) => `/pub/${r}/`),
    plain('without .git', (r) => `/pub/${r.replace('.git', '')}`),
    plain('with .git twice', (r) => `/pub/${r}.git`),
    plain('through a closed segment', (r) => `/pub/../priv/${r}`),
    plain('through a closed segment, encoded', (r) => `/pub/%2e%2e/priv/${r}`),
    plain('encoded', (r) => `/%70riv/${r}`),
    plain('with a query', (r) => `/pub/${r}`),
  ])('the repository $name', async ({ write }) => {
    const written = await same({ path: `${write(solo)}${POST}`, body: clone(main) })
    if (written.pack) expect(written.how).toMatch(/^(hit|miss|join|pass; reason=path)$/)
    const query = await same({ path: `${write(solo)}${POST}?x=/../`, body: clone(main) })
    expect(query.how).not.toBe('hit')
  })

  test('internal locations and headers that name them', async () => {
    const names = 'main probe tags refs gunzip prepare ticket read hit stream pass'.split(' ')
    const tried = names.flatMap((name) => [undefined, clone(main)].map((body) => ({ name, body })))
    const answers = await Promise.all(
      tried.map(async ({ name, body }) => {
        const path = `/pub/${solo}/_gitcache/${name}${POST}`
        const answer = await ask(suite, cache, { path, ...(body === undefined ? {} : { body }) })
        return [name, answer.status, hasPack(answer)]
      })
    )
    expect(answers).toEqual(tried.map(({ name }) => [name, 404, false]))
    const hit = `/priv/${solo}/_gitcache/hit${POST}`
    const headers = [`X-Accel-Redirect: ${hit}`, `X-Original-URI: ${hit}`]
    const redirected = await same({ path: `/priv/${solo}${POST}`, body: clone(main), headers })
    expect(redirected).toMatchObject({ status: 401, pack: false })
    const fault = { path: `/fault/accel/x.git${POST}`, body: clone(main) }
    const answer = await ask(suite, cache, fault)
    expect(answer.body.toString()).toBe('own words\n')
  })

  test('the sidecar cannot be reached from the network', async () => {
    const script = `for port in 80 3000 7419 8080; do curl -s -m 2 -o /dev/null http://sidecar-${suite}:$port/; echo $?; done
for path in prepare read/x stream/x; do curl -s -m 2 -o /dev/null -w '%{http_code}\\n' -d '{}' http://sidecar-${suite}:7420/$path; done
stat -c %a /w/data/${suite}/packs /w/data/${suite}/mirrors /w/data/${suite}/sidecar | sed 's/.*\\(.\\)$/\\1/'`
    const lines = (await must(stack().upstream, script)).split('\n')
    expect(lines.slice(0, 4)).toEqual(['7', '7', '7', '7'])
    for (const status of lines.slice(4, 7)) expect(status).toMatch(/^40[45]$/)
    expect(lines.slice(7)).toEqual(['0', '0', '0'])
  })
})
