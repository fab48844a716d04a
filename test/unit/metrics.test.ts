/** Each metric moves when its event happens: an operator's dashboards stand on these names. */
import { expect, test } from 'vitest'
import { addGauges, createMetrics, type Metrics } from '../../sidecar/src/metrics.ts'

async function sampleOf({ registry }: Metrics, sample: string): Promise<number> {
  const line = (await registry.metrics()).split('\n').find((one) => one.startsWith(`${sample} `))
  return Number(line?.slice(sample.length))
}

const EVENTS: [sample: string, event: (metrics: Metrics) => void, value: number][] = [
  ['gitcache_requests_total{result="hit"}', (m) => m.report('hit', 7, 0.1, true), 1],
  ['gitcache_requests_total{result="pass"}', (m) => m.report('pass; reason=path', 7, 0.1, true), 1],
  ['gitcache_pass_total{reason="path"}', (m) => m.report('pass; reason=path', 7, 0.1, true), 1],
  ['gitcache_response_bytes_total{source="cache"}', (m) => m.report('miss', 7, 0.1, true), 7],
  ['gitcache_response_bytes_total{source="upstream"}', (m) => m.report('nak', 7, 0.1, true), 7],
  [
    'gitcache_request_duration_seconds_sum{result="join"}',
    (m) => m.report('join', 7, 0.25, true),
    0.25,
  ],
  ['gitcache_pack_build_duration_seconds_count{by="mirror"}', (m) => m.built('mirror', 9, 1), 1],
  ['gitcache_pack_size_bytes_sum', (m) => m.built('mirror', 9, 1), 9],
  ['gitcache_upstream_bytes_total', (m) => m.built('mirror', 9, 1), 0],
  ['gitcache_upstream_bytes_total', (m) => m.built('upstream', 9, 1), 9],
  ['gitcache_upstream_bytes_total', (m) => m.fetched('ok', 5, 1), 5],
  ['gitcache_upstream_fetch_duration_seconds_count{outcome="ok"}', (m) => m.fetched('ok', 5, 1), 1],
  ['gitcache_singleflight_followers_total', (m) => m.followed(), 1],
  ['gitcache_store_evictions_total{what="mirror"}', (m) => m.evicted('mirror'), 1],
  ['gitcache_faults_total{code="GITCACHE_GIT"}', (m) => m.fault('GITCACHE_GIT'), 1],
]

test.each(EVENTS)('%s', async (sample, event, value) => {
  const metrics = createMetrics({ git: '2.39.5' })
  event(metrics)
  expect(await sampleOf(metrics, sample)).toBe(value)
})

test('gauges are read when they are asked for', async () => {
  const metrics = createMetrics({ git: '2.39.5' })
  addGauges(metrics, {
    gitProcesses: () => 1,
    gitQueue: () => 2,
    sizes: () => ({ packs: 3, mirrors: 4, limit: 5, mirrorCount: 6 }),
  })
  const names = ['git_processes', 'git_queue_length', 'store_bytes', 'mirror_bytes']
  const all = [...names, 'store_limit_bytes', 'mirrors'].map((name) => `gitcache_${name}`)
  expect(await Promise.all(all.map((name) => sampleOf(metrics, name)))).toEqual([1, 2, 3, 4, 5, 6])
})

test('a label that nginx did not give counts nothing', async () => {
  const metrics = createMetrics({ git: '' })
  const before = await metrics.registry.metrics()
  for (const text of ['', 'constructor', 'hit; reason=path\n', 'hits'])
    metrics.report(text, 7, 1, true)
  const plain = (text: string) => text.replace(/^(process|nodejs)_.*$/gm, '')
  expect(plain(await metrics.registry.metrics())).toBe(plain(before))
})
