/** What an operator sees: a request in nginx's log and the sidecar's by one id, metrics, readiness. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Pair, startPair } from '../support/pair.ts'
import { copyOf, onUpstream } from '../support/repositories.ts'
import { answered, client, must, sh, stack, uniqueId } from '../support/servers.ts'
import { onOneNginx } from '../support/versions.ts'

const ADMIN = '127.0.0.1:7999'

onOneNginx((suite) => {
  const sidecar = stack().sidecar[suite] as string
  let pair: Pair
  beforeAll(async () => {
    pair = await startPair({ name: uniqueId('view'), suite, args: ['--admin', ADMIN] })
  })
  afterAll(() => pair.stop())

  async function clone(repository: string, options = ''): Promise<string> {
    const id = uniqueId('view')
    await sh(
      client(suite),
      `git -c http.extraHeader=X-Test:${id} clone -q --bare ${options} ${pair.url}/pub/${repository} /w/work/${id}; rm -rf /w/work/${id}`
    )
    return id
  }

  /** nginx's line of a test's fetch, and the sidecar's of the same request. */
  async function bothLines(id: string) {
    const fetch = answered(suite, id, pair.log).filter(
      ({ uri, result }) => uri.endsWith('git-upload-pack') && result !== 'pass; reason=ls-refs'
    )
    const request = fetch.at(-1)?.request
    for (let i = 0; i < 20; i++) {
      const line = pair.logged().find((one) => one.msg === 'request' && one.id === request)
      if (line !== undefined) return { nginx: fetch.at(-1), sidecar: line }
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    throw new Error(`no line of ${request}`)
  }

  const admin = (path: string) =>
    must(sidecar, `curl -s -w '\\n%{http_code}' http://${ADMIN}${path}`)

  test('a miss: one id, the same result, the same bytes', async () => {
    const repository = await copyOf('small')
    const { nginx, sidecar: line } = await bothLines(await clone(repository))
    expect(nginx?.result).toBe('miss')
    expect(line).toMatchObject({ repo: `/pub/${repository}`, result: 'miss' })
    // nginx counts progress as well, and the chunks' heads.
    expect(line.bytes).toBeGreaterThan(1000)
    expect(line.bytes).toBeLessThanOrEqual(nginx?.bytes ?? 0)
  })

  test('a pass by the sidecar has its reason in both', async () => {
    const repository = await copyOf('shallow')
    await clone(repository)
    const { nginx, sidecar: line } = await bothLines(await clone(repository))
    expect(nginx?.result).toBe('pass; reason=shallow-upstream')
    expect(line).toMatchObject({ result: 'pass', reason: 'shallow-upstream' })
  })

  test('a fault is said with its code and a way out, once', async () => {
    const repository = await copyOf('small')
    await must(sidecar, `chmod 0555 ${pair.data}/tmp`)
    for (let i = 0; i < 5; i++) await clone(repository, `--depth ${i + 1}`)
    await must(sidecar, `chmod 0750 ${pair.data}/tmp`)
    const faults = pair.logged().filter(({ code }) => code === 'GITCACHE_STORE')
    expect(faults).toHaveLength(1)
    expect(faults[0]).toMatchObject({ hint: expect.any(String), error: expect.any(String) })
  })

  test('metrics say what was made and what upstream sent', async () => {
    const repository = await copyOf('small')
    const value = (text: string, name: string) =>
      Number(
        text
          .split('\n')
          .find((line) => line.startsWith(`${name} `))
          ?.split(' ')[1]
      )
    const before = await admin('/metrics')
    await clone(repository)
    await onUpstream(repository, 'commit main new')
    const after = await admin('/metrics')
    const made = 'gitcache_pack_build_duration_seconds_count{by="upstream"}'
    expect(value(after, made)).toBe((value(before, made) || 0) + 1)
    const sent = 'gitcache_upstream_bytes_total'
    expect(value(after, sent)).toBeGreaterThan(value(before, sent) + 1000)
    expect(after).toMatch(
      /^gitcache_build_info\{version="[\d.]+",node="v[\d.]+",git="[\d.]+"\} 1$/m
    )
  })

  test('ready, and not ready while it drains', async () => {
    expect(await admin('/healthz')).toBe('{"alive":true}\n\n200')
    expect(await admin('/readyz')).toMatch(/"ready":true.*\n\n200$/)
    const repository = await copyOf('main', 'touch slow-pack')
    const running = clone(repository)
    await new Promise((resolve) => setTimeout(resolve, 1500))
    const stopped = pair.signalSidecar('SIGTERM')
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(await admin('/readyz')).toMatch(/"ready":false.*"draining":true.*\n\n503$/)
    await running
    await stopped
    await pair.startSidecar()
  })
})
