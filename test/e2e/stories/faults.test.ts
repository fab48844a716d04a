/**
 * Upstream misbehaves: the client sees what it would see without the cache, and nothing of it is
 * stored. Never a connection that is cut before an answer.
 */
import { chmodSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test, vi } from 'vitest'
import { cacheOf, copyOf, makeRepository, oidOf, onUpstream } from '../support/repositories.ts'
import { client, linesOf, must, sh, stack, uniqueId } from '../support/servers.ts'
import type { Suite } from '../support/stack.ts'
import { onEachNginx } from '../support/versions.ts'
import { type Answer, ask, fetchV0, fetchV2 } from '../support/wire.ts'

const FAULTS = 'http://upstream:81'
const OID = '1234567890123456789012345678901234567890'
const BODIES = [
  {
    family: 'v2',
    protocol: 2 as const,
    body: fetchV2('ofs-delta', `want ${OID}`, 'done'),
    probed: false,
  },
  {
    family: 'v2 with include-tag',
    protocol: 2 as const,
    body: fetchV2('include-tag', `want ${OID}`, 'deepen 1', 'done'),
    probed: true,
  },
  { family: 'v0', protocol: 0 as const, body: fetchV0(`want ${OID}`), probed: false },
]
const MODES =
  '301 302 403 404 429 500 503 empty html length endless cut hang gzip accel unknown'.split(' ')

// They mostly wait.
vi.setConfig({ maxConcurrency: 20 })

/** A body without end is compared by its beginning. */
const ENOUGH = 20_000
const PATIENCE = 20
/** As the Retry-After of that upstream says (faults.mjs), and a bit. Milliseconds. */
const HELD = 7500
/** A stored answer's file; beside it lies one that says whose it is. */
const ANSWER = /(^|\/)[0-9a-f]{64}$/

/** What upstream said with a fault must not lie in the store: each file there begins as git does. */
function aliens(suite: Suite): string[] {
  const packs = path.join(stack().dir, 'data', suite, 'packs')
  const files = readdirSync(packs, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && ANSWER.test(entry.name))
    .map((entry) => path.join(entry.parentPath, entry.name))
  return files.filter(
    (file) =>
      !/^[0-9a-f]{4}(packfile|shallow|unshallow|acknowledgments|NAK|ACK|000)/.test(start(file))
  )
}

function start(file: string): string {
  return readFileSync(file).subarray(0, 40).toString('latin1')
}

function seen({ status, headers, body }: Answer) {
  const { 'x-accel-redirect': _, ...rest } = headers
  return { status, headers: rest, size: Math.min(body.length, ENOUGH), body: digest(body) }
}

function digest(body: Buffer): string {
  return body.subarray(0, ENOUGH).toString('latin1')
}

onEachNginx((suite) => {
  const cache = cacheOf(suite)
  const rows = MODES.flatMap((mode) => BODIES.map((body) => ({ mode, ...body })))

  test.concurrent.each(rows)('$mode, $family', async ({ mode, protocol, body, probed }) => {
    const request = { path: `/fault/${mode}/x.git/git-upload-pack`, body, protocol }
    // Who is probed is told of an end; who is passed reads for ever, less than a direct client does here.
    const endless = mode === 'endless' ? { seconds: 10, rate: '4M' } : {}
    const reading = mode === 'endless' && !probed ? { seconds: 10, rate: '1M' } : {}
    const [direct, cached] = await Promise.all([
      ask(suite, FAULTS, { ...request, seconds: PATIENCE, ...endless }),
      ask(suite, cache, { ...request, seconds: 2 * PATIENCE, ...reading }),
    ])
    // 52: closed without a byte of an answer. 56: reset.
    expect([52, 56]).not.toContain(cached.code)
    if (mode === 'hang') {
      expect([502, 504]).toContain(cached.status)
    } else if (mode === 'endless') {
      expect(cached.status).toBe(200)
      expect(cached.body.length).toBeGreaterThan(1000)
      expect(direct.body.subarray(0, cached.body.length).equals(cached.body)).toBe(true)
    } else if (mode === 'cut') {
      expect(cached.status).toBe(200)
      expect(digest(cached.body)).toBe(digest(direct.body))
      expect(cached.code, 'an answer that was cut must not look whole').not.toBe(0)
    } else {
      expect(seen(cached)).toEqual(seen(direct))
    }
    expect(cached.header ?? '').toMatch(/^pass; reason=[a-z0-9-]+$/)
    expect(aliens(suite)).toEqual([])
  })

  test.concurrent.each(MODES)('git and %s', async (mode) => {
    const run = async (origin: string) => {
      const dir = `/w/work/${uniqueId('faulty')}`
      const script = `GIT_TERMINAL_PROMPT=0 timeout ${mode === 'endless' ? 3 : 30} git clone -q --bare ${origin}/fault/${mode}/x.git ${dir}; code=$?; rm -rf ${dir}; exit $code`
      const { code, out } = await sh(client(suite), script)
      return { code, out: out.replaceAll(origin, 'HOST').replaceAll(dir, 'DIR') }
    }
    const [direct, cached] = await Promise.all([run(FAULTS), run(cache)])
    // A direct client waits for ever where nginx has a limit.
    // And obeys an X-Accel-Redirect with refs, as without us.
    if (mode === 'hang' || mode === 'accel') expect(cached.code).toBe(128)
    else expect(cached).toEqual(direct)
  })

  test('upstream closes each connection that nginx kept: git sees nothing of it', async () => {
    const repository = await copyOf('small')
    const clones = await Promise.all(
      Array.from({ length: 30 }, async (_, i) => {
        const dir = `/w/work/${uniqueId('closed')}`
        const script = `git -c protocol.version=${i % 3} clone -q --bare ${cache.replace('8080', '8082')}/pub/${repository} ${dir} && git -C ${dir} rev-list --objects --all | sort; code=$?; rm -rf ${dir}; exit $code`
        return sh(client(suite), script)
      })
    )
    const direct = await must(
      stack().upstream,
      `git -C /w/repos/${repository} rev-list --objects --all | sort`
    )
    expect(clones).toEqual(Array(30).fill({ code: 0, out: direct }))
    const closed = linesOf('closed.log').filter((line) =>
      line.startsWith(`POST /pub/${repository}`)
    )
    expect(closed.length).toBeGreaterThan(5)
  })

  test('a stored answer that nginx can see and not read is passed', async () => {
    const repository = await makeRepository('unreadable', 'commit main one')
    const body = fetchV2('ofs-delta', `want ${await oidOf(repository, 'main')}`, 'done')
    const request = { path: `/pub/${repository}/git-upload-pack`, body }
    const packs = path.join(stack().dir, 'data', suite, 'packs')
    const stored = () => new Set(readdirSync(packs, { recursive: true, encoding: 'utf8' }))
    const before = stored()
    expect(await ask(suite, cache, request)).toMatchObject({ results: ['miss'] })
    let mine: string[] = []
    for (let i = 0; i < 50 && mine.length === 0; i++) {
      await new Promise((resolve) => setTimeout(resolve, 100))
      mine = [...stored()].filter((file) => !before.has(file) && ANSWER.test(file))
    }
    const hit = await ask(suite, cache, request)
    expect(hit).toMatchObject({ results: ['hit'], header: 'hit' })
    expect(hit.headers['cache-control']).toBe('no-cache')
    for (const file of mine) chmodSync(path.join(packs, file), 0)
    const passed = await ask(suite, cache, request)
    expect(passed).toMatchObject({
      status: 200,
      results: ['pass; reason=store'],
      header: 'pass; reason=store',
    })
    const direct = await ask(suite, 'http://upstream', request)
    expect(passed.headers).toEqual(direct.headers)
  })

  test('429 with Retry-After: upstream is asked once for each client until then', async () => {
    const request = { path: '/fault/429/y.git/git-upload-pack', body: BODIES[0]?.body ?? '' }
    await new Promise((resolve) => setTimeout(resolve, HELD))
    const direct = await ask(suite, FAULTS, request)
    const first = await ask(suite, cache, request)
    expect(first).toMatchObject({ status: 429, header: 'pass; reason=overloaded' })
    expect(seen(first)).toEqual(seen(direct))
    const asked = () =>
      linesOf('faults.log').filter((line) => line.includes('/fault/429/y.git')).length
    const before = asked()
    for (let i = 0; i < 5; i++) {
      expect(await ask(suite, cache, request)).toMatchObject({
        status: 429,
        header: 'pass; reason=overloaded',
      })
    }
    expect(asked() - before).toBe(5)
    // Whose requests upstream answers are served all the while.
    const repository = await makeRepository('meanwhile', 'commit main one')
    const body = fetchV2('ofs-delta', `want ${await oidOf(repository, 'main')}`, 'done')
    const granted = { path: `/pub/${repository}/git-upload-pack`, body }
    expect(await ask(suite, cache, granted)).toMatchObject({ status: 200, header: 'miss' })
    await expect
      .poll(async () => (await ask(suite, cache, granted)).header, { timeout: 10_000 })
      .toBe('hit')
    await new Promise((resolve) => setTimeout(resolve, HELD))
    await ask(suite, cache, request)
    // His own request, and the probe, which that is not.
    expect(asked() - before).toBe(7)
  })

  test('a refusal that takes two seconds to say keeps its status and all of its words', async () => {
    const repository = await makeRepository('slow', 'commit main one')
    const body = fetchV2('ofs-delta', `want ${await oidOf(repository, 'main')}`, 'done')
    await onUpstream(repository, 'touch git-upload-pack.slow')
    const request = { path: `/pub/${repository}/git-upload-pack`, body }
    const direct = await ask(suite, 'http://upstream', request)
    expect(direct).toMatchObject({ code: 0, status: 403 })
    const cached = await ask(suite, cache, request)
    expect(seen(cached)).toEqual(seen(direct))
  })
})
