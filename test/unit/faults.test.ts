/** What an operator hears of a fault: each thing once, and how often it came again. */
import { type Logger, pino } from 'pino'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { openFaults } from '../../sidecar/src/faults.ts'
import { createMetrics } from '../../sidecar/src/metrics.ts'

let lines: Record<string, unknown>[] = []
const log: Logger = pino({}, { write: (line: string) => void lines.push(JSON.parse(line)) })

beforeEach(() => {
  lines = []
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

const said = () => lines.map(({ msg, repo, repeated }) => repo ?? repeated ?? msg)

test('the same is said once a minute, and then how often it came', () => {
  const faults = openFaults(log, () => {})
  for (let i = 0; i < 5; i++) faults('GITCACHE_STORE', new Error('no space'))
  expect(lines).toMatchObject([{ code: 'GITCACHE_STORE', error: 'Error: no space' }])
  vi.advanceTimersByTime(60_000)
  expect(said().slice(1)).toEqual([4])
  faults('GITCACHE_STORE', new Error('no space'))
  expect(lines).toHaveLength(3)
})

test('of another repository or upstream it is another, up to ten', () => {
  const faults = openFaults(log, () => {})
  faults('GITCACHE_UNREACHABLE', 'x', { upstream: 'http://a', repo: '/r' })
  faults('GITCACHE_UNREACHABLE', 'x', { upstream: 'http://b', repo: '/r' })
  for (let i = 0; i < 100; i++) faults('GITCACHE_UNREACHABLE', 'x', { repo: `/${i}` })
  faults('GITCACHE_MIRROR_DAMAGED', 'x', { repo: '/m' })
  expect(said()).toEqual(['/r', '/r', ...[...'01234567'].map((n) => `/${n}`), '/m'])
  vi.advanceTimersByTime(60_000)
  expect(said().at(-1)).toBe(92)
})

test('each is counted, said or not', async () => {
  const metrics = createMetrics({ git: '' })
  const faults = openFaults(log, metrics.fault)
  for (let i = 0; i < 3; i++) faults('GITCACHE_GIT', 'x', { repo: '/r' })
  const text = await metrics.registry.metrics()
  expect(text).toContain('gitcache_faults_total{code="GITCACHE_GIT"} 3')
  expect(text).toContain('gitcache_faults_total{code="GITCACHE_STORE"} 0')
})
