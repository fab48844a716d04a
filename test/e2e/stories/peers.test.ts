/**
 * What other caches of git do, or did: one test a hole, named after it. Holes that take a story of
 * their own have one: killed processes in chaos, equal clients at once in herd, full disks in
 * disk-full, left-over locks in damaged, stalled fetches in the unit tests of git's processes.
 */
import { existsSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { gzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { layout } from '../../../sidecar/src/layout.ts'
import { placeOf } from '../../../sidecar/src/mirror-places.ts'
import {
  basic,
  cacheOf,
  copyOf,
  DIRECT,
  makeRepository,
  oidOf,
  onUpstream,
  warmUp,
} from '../support/repositories.ts'
import {
  client,
  dataOf,
  linesOf,
  mirrorNames,
  must,
  packsMade,
  results,
  sh,
  stack,
  uniqueId,
} from '../support/servers.ts'
import { onOneNginx } from '../support/versions.ts'
import { type Ask, ask, askBoth, fetchV0, fetchV2, hasPack } from '../support/wire.ts'

const ALICE = basic('alice')
const POST = '/git-upload-pack'

/** By the cache, each of them. */
const SERVED = /^(miss|join|hit)(,(miss|join|hit))*$/

onOneNginx((suite) => {
  const cache = cacheOf(suite)
  const sidecar = stack().sidecar[suite] as string
  const { hostname, host } = new URL(cache)
  const mirrorOf = (repository: string) =>
    placeOf(layout(dataOf(suite)), {
      upstream: 'http://upstream',
      // The server has no name.
      vhost: ` ${hostname} ${host}`,
      repository: repository.replace('.git', ''),
      format: 'sha1',
    })

  /** A git command with $O for the origin, in an empty directory. */
  async function git(script: string, origin = cache) {
    const id = uniqueId('peer')
    const { code, out } = await sh(
      client(suite),
      `export GIT_TERMINAL_PROMPT=0; O=${origin}; mkdir /w/work/${id}; cd /w/work/${id}; g() { git -c http.extraHeader=X-Test:${id} "$@"; }; ${script}; code=$?; rm -rf /w/work/${id}; exit $code`,
      { ALICE }
    )
    return { code, out: out.replaceAll(origin, 'HOST'), how: results(suite, id).join(), id }
  }

  async function same(request: Ask) {
    return (await askBoth(suite, request)).cached
  }

  const fresh = () => makeRepository('peer', 'commit main one; commit main two')
  const want = async (repository: string, revision = 'main') =>
    fetchV2('no-progress', 'ofs-delta', `want ${await oidOf(repository, revision)}`, 'done')

  test('git_cdn: the key has no repository: a reader of A gets the pack of B', async () => {
    const whole = await copyOf('main')
    await warmUp(suite, `/pub/${whole}`, '')
    // It has the same commit and nothing before it.
    const other = await copyOf('shallow')
    const body = await want(other)
    const ofWhole = await same({ path: `/pub/${whole}${POST}`, body })
    expect(ofWhole.results.join()).toMatch(SERVED)
    const ofOther = await same({ path: `/pub/${other}${POST}`, body })
    expect(ofOther.results.join()).toMatch(SERVED)
    expect(ofOther.body.length).toBeLessThan(ofWhole.body.length)
  })

  test('git_cdn: the key has no values: another want gets the same pack', async () => {
    const repository = await fresh()
    await warmUp(suite, `/pub/${repository}`)
    for (const revision of ['main', 'main~1', 'main']) {
      const body = await want(repository, revision)
      const { results: how } = await same({ path: `/pub/${repository}${POST}`, body })
      expect(how.join()).toMatch(SERVED)
    }
  })

  test('git_cdn: a GET authorises a POST', async () => {
    const repository = await fresh()
    await warmUp(suite, `/closedpost/${repository}`, `-c http.extraHeader="${ALICE}"`)
    const refs = { path: `/closedpost/${repository}/info/refs?service=git-upload-pack` }
    expect((await same(refs)).status).toBe(200)
    const body = await want(repository)
    expect((await same({ path: `/closedpost/${repository}${POST}`, body })).status).toBe(401)
  })

  test("git_cdn: credentials in the mirror's configuration", async () => {
    const repository = await fresh()
    await warmUp(suite, `/priv/${repository}`, `-c http.extraHeader="${ALICE}"`)
    const secret = ALICE.split(' ').at(-1)
    const found = await sh(
      sidecar,
      `grep -raF -l -e '${secret}' -e alice-secret /w/data/${suite} 2> /dev/null`
    )
    expect(found.out).toBe('')
  })

  test('git_cdn: the path is lower-cased', async () => {
    const upper = await makeRepository('peer', 'commit main upper', 'Repo.git')
    const lower = upper.replace('Repo.git', 'repo.git')
    await onUpstream(lower, 'git init -q --bare --template= -b main .; commit main lower')
    for (const repository of [upper, lower, upper, lower]) {
      const script = `g clone -q --bare $O/pub/${repository} c && git -C c rev-parse main`
      const cached = await git(script)
      expect(cached.out).toBe((await git(script, DIRECT)).out)
      expect(cached.how).toMatch(SERVED)
    }
  })

  test('git_cdn: a cold pack is stored before the first byte is sent', async () => {
    const repository = await copyOf('main', 'touch slow-pack')
    const body = await want(repository)
    const begun = await ask(suite, cache, { path: `/pub/${repository}${POST}`, body, seconds: 2 })
    // The end comes three seconds later: who waits two has some of it.
    expect([begun.code, begun.status]).toEqual([28, 200])
    expect(begun.body.length).toBeGreaterThan(1000)
  })

  test('git_cdn: want-ref gets an empty 200', async () => {
    const repository = await fresh()
    const body = fetchV2('no-progress', 'want-ref refs/heads/main', 'done')
    const answer = await same({ path: `/pub/${repository}${POST}`, body })
    expect(answer.header).toBe('pass; reason=want-ref')
  })

  test('git_cdn: shallow and filtered answers are not cached', async () => {
    const repository = await copyOf('small')
    await warmUp(suite, `/pub/${repository}`)
    for (const options of ['--depth 1', '--filter=blob:none', '--filter=tree:0 --depth 1']) {
      const script = `g clone -q --bare ${options} $O/pub/${repository} c`
      await git(script)
      expect((await git(script)).how, options).toBe('hit')
    }
  })

  test('git_cdn: the probe of an old client loads the whole list of refs', async () => {
    const repository = await copyOf('main')
    const request = {
      path: `/pub/${repository}${POST}`,
      body: fetchV0(`want ${await oidOf(repository, 'main')}`),
      protocol: 0 as const,
    }
    await ask(suite, cache, request)
    const { id, results: how } = await ask(suite, cache, request)
    expect(how).toEqual(['hit'])
    const asked = linesOf('upstream.log').filter((line) => line.startsWith(`${id}\t`))
    expect(asked).toHaveLength(1)
    expect(Number(asked[0]?.split('\t')[4])).toBeLessThan(100)
  })

  test('git_cdn: an error after the 200 is out', async () => {
    const repository = await fresh()
    await warmUp(suite, `/pub/${repository}`)
    const body = fetchV2('no-progress', `want ${'ab'.repeat(20)}`, 'done')
    await same({ path: `/pub/${repository}${POST}`, body })
  })

  test('git_cdn: a fetch that failed is ignored: not our ref', async () => {
    const repository = await fresh()
    await warmUp(suite, `/pub/${repository}`)
    await onUpstream(repository, 'commit main three; touch git-upload-pack.refused')
    const script = `g clone -q --bare $O/pub/${repository} c`
    const [direct, cached] = [await git(script, DIRECT), await git(script)]
    expect([cached.code, cached.out]).toEqual([direct.code, direct.out])
    expect(cached.out).not.toContain('not our ref')
  })

  test.each([301, 302, 500, 503])(
    'git-cache-http-server: any status but 401, 403 and 404 is a yes: %i',
    async (status) => {
      const request = { path: `/fault/${status}/x.git${POST}`, body: await want(await fresh()) }
      const cached = await ask(suite, cache, request)
      expect(cached.status).toBe(status)
      expect(cached.header).toMatch(/^pass; /)
    }
  )

  test('git-cache-http-server: the URL is part of a shell line', async () => {
    const name = uniqueId('shell')
    const request = {
      path: `/pub/$(touch$IFS/tmp/${name})${POST}`,
      body: await want(await fresh()),
    }
    expect((await same(request)).header).toBe('pass; reason=path')
    expect((await sh(sidecar, `ls /tmp/${name} 2> /dev/null`)).out).toBe('')
  })

  test.each(['/pub/../priv/main.git', '/pub/%2e%2e/priv/main.git', '/pub/x%2f..%2fmain.git'])(
    'git-cache-http-server: dots in paths: %s',
    async (repository) => {
      await warmUp(suite, '/priv/main.git', `-c http.extraHeader="${ALICE}"`)
      const cached = await same({ path: `${repository}${POST}`, body: await want('main.git') })
      expect(hasPack(cached)).toBe(false)
    }
  )

  test('git-cache-http-server: x and x.git become two mirrors', async () => {
    const repository = await fresh()
    await warmUp(suite, `/pub/${repository}`)
    const plain = `/pub/${repository.replace('.git', '')}`
    expect((await git(`g clone -q --bare $O${plain} c`)).how).toBe('hit')
    expect(mirrorNames(dataOf(suite)).filter((name) => name === plain)).toHaveLength(1)
  })

  test('git-cache-http-server: a directory is made before anyone is authenticated', async () => {
    const repository = await fresh()
    expect((await git(`g clone -q --bare $O/priv/${repository} c`)).code).toBe(128)
    const body = await want(repository)
    await ask(suite, cache, { path: `/priv/${repository}${POST}`, body })
    await new Promise((resolve) => setTimeout(resolve, 1000))
    expect(existsSync(mirrorOf(`/priv/${repository}`))).toBe(false)
    await warmUp(suite, `/pub/${repository}`)
    expect(existsSync(mirrorOf(`/pub/${repository}`))).toBe(true)
  })

  test('git-cache-http-server: fetch and upload-pack on one mirror corrupt it', async () => {
    const repository = await copyOf('main')
    await warmUp(suite, `/pub/${repository}`)
    for (let i = 0; i < 5; i++) {
      await onUpstream(repository, `commit main more-${i}`)
      const script = `for i in 1 2 3 4 5 6; do g clone -q --bare --depth $i $O/pub/${repository} $i & done; wait; for i in 1 2 3 4 5 6; do git -C $i fsck --no-dangling --no-progress 2>&1; git -C $i rev-parse main; done`
      const cached = await git(script)
      expect(cached.out).toBe((await git(script, DIRECT)).out)
      expect(cached.how).toMatch(SERVED)
    }
  })

  test('goblet, cachew: a private repository that is mirrored is open', async () => {
    const repository = await makeRepository('peer', 'commit main plans', 'team.git')
    await warmUp(suite, `/priv/${repository}`, `-c http.extraHeader="${ALICE}"`)
    const request = { path: `/priv/${repository}${POST}`, body: await want(repository) }
    expect((await same(request)).status).toBe(401)
    expect((await same({ ...request, headers: [basic('bob')] })).status).toBe(403)
    expect((await same({ ...request, headers: [ALICE] })).results).toEqual(['hit'])
  })

  test('cachew: refs are ten seconds old', async () => {
    const repository = await fresh()
    await warmUp(suite, `/pub/${repository}`)
    for (const protocol of [0, 1, 2]) {
      await onUpstream(repository, `commit main new-${protocol}`)
      const script = `g -c protocol.version=${protocol} ls-remote $O/pub/${repository}`
      expect((await git(script)).out).toBe((await git(script, DIRECT)).out)
    }
  })

  test('cachew: a lock that is held over a stream hangs all', async () => {
    const slow = await copyOf('main', 'touch slow-pack')
    const other = await fresh()
    const streaming = git(`g clone -q --bare $O/pub/${slow} c`)
    await new Promise((resolve) => setTimeout(resolve, 700))
    let first = false
    const ended = streaming.then(({ code }) => {
      first = true
      return code
    })
    expect((await git(`g clone -q --bare $O/pub/${other} c`)).code).toBe(0)
    expect(first).toBe(false)
    expect(await ended).toBe(0)
  })

  test('cachew: one fetch for each request', async () => {
    const repository = await copyOf('main')
    await warmUp(suite, `/pub/${repository}`)
    await onUpstream(repository, 'commit main pushed-just-now')
    const script = `for i in $(seq 12); do g clone -q --bare --no-tags --depth 1 --single-branch $O/pub/${repository} $i & done; wait; for i in $(seq 12); do git -C $i rev-parse main; done | sort -u | wc -l`
    const all = await git(script)
    expect(all.out.trim()).toBe('1')
    expect(packsMade(all.id)).toBeLessThanOrEqual(1)
  })

  test('cachew: what a git leaves becomes a zombie', async () => {
    await git(`g clone -q --bare --depth 1 $O/pub/${await fresh()} c`)
    // Each is one for a moment, until its parent has looked.
    const zombies = "ps -eo stat,comm | awk '$1 ~ /^Z/ && /git/' | wc -l"
    await expect.poll(async () => Number(await must(sidecar, zombies)), { timeout: 10_000 }).toBe(0)
  })

  test('labels of metrics grow with what clients ask for', async () => {
    const scrape = () => must(sidecar, 'curl -s http://127.0.0.1:7420/metrics')
    const count = (text: string, name: string) => Number(text.split(`${name} `)[1]?.split('\n')[0])
    const before = await scrape()
    const repository = await fresh()
    await git(`g clone -q --bare $O/pub/${repository} c`)
    await git(`g clone -q --bare $O/pub/no-such-${repository} c`)
    for (const name of [
      'gitcache_requests_total{result="miss"}',
      'gitcache_pass_total{reason="ls-refs"}',
    ]) {
      const more = async () => count(await scrape(), name) - count(before, name)
      await expect.poll(more, { timeout: 10_000 }).toBeGreaterThan(0)
    }
    const metrics = await scrape()
    expect(metrics).not.toContain(repository)
    expect(metrics).not.toContain('no-such')
  })

  test('GNOME: requests with a token are not cached', async () => {
    const repository = await fresh()
    const script = `g -c http.extraHeader="$ALICE" clone -q --bare $O/priv/${repository} c`
    await git(script)
    expect((await git(script)).how).toBe('hit')
  })

  test('a bomb in gzip', async () => {
    const bomb = gzipSync(Buffer.alloc(60_000_000))
    const request = {
      path: `/pub/${await fresh()}${POST}`,
      body: bomb,
      headers: ['Content-Encoding: gzip'],
    }
    const cached = await ask(suite, cache, request)
    expect(cached.header).toMatch(/^pass; reason=(gzip|body-size|body)$/)
  })

  test('a force push between the advertisement and the fetch', async () => {
    const repository = await fresh()
    await warmUp(suite, `/pub/${repository}`)
    const body = await want(repository)
    await onUpstream(repository, 'commit main anew root; prune')
    expect(hasPack(await same({ path: `/pub/${repository}${POST}`, body }))).toBe(false)
  })

  test('a POST that no GET came before', async () => {
    const repository = await fresh()
    const asked = await same({ path: `/pub/${repository}${POST}`, body: await want(repository) })
    expect(asked.results).toEqual(['miss'])
  })

  test('spools that nobody needs stay', async () => {
    const { how } = await git(`g clone -q --bare $O/pub/${await fresh()} c`)
    expect(how).toMatch(SERVED)
    const tmp = path.join(dataOf(suite), 'tmp')
    for (let i = 0; i < 50 && readdirSync(tmp).length > 0; i++) {
      await new Promise((resolve) => setTimeout(resolve, 200))
    }
    expect(existsSync(tmp) && readdirSync(tmp)).toEqual([])
  })
})
