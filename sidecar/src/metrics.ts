/** Every metric and label value, declared once. Base units; no label that clients could make grow. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import { REASONS } from '../../njs/src/git/reasons.ts'
import { FAULT_CODES, type FaultCode } from './faults.ts'
import type { FetchOutcome } from './mirror.ts'
import { VERSION } from './version.ts'

const RESULTS = ['hit', 'miss', 'join', 'nak', 'pass'] as const
const SOURCES = ['cache', 'upstream'] as const
const EVICTED = ['answer', 'mirror'] as const
const SECONDS = [0.005, 0.02, 0.1, 0.5, 2, 10, 60, 600]
const BYTES = [1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10]

export interface Metrics {
  registry: Registry
  /** One answered request, as nginx reported it: `hit`, or `pass; reason=path`; bytes, seconds, and whether all was sent. */
  report(result: string, bytes: number, seconds: number, whole: boolean): void
  /** An answer was made: by git on a mirror, or by upstream. */
  built(by: 'mirror' | 'upstream', bytes: number, seconds: number): void
  /** A fetch into a mirror has ended, and so many bytes of packs are new in it. */
  fetched(outcome: FetchOutcome, bytes: number, seconds: number): void
  followed(): void
  evicted(what: (typeof EVICTED)[number]): void
  fault(code: FaultCode): void
}

/** Read when the metrics are. */
export interface Gauges {
  gitProcesses: () => number
  gitQueue: () => number
  sizes: () => { packs: number; mirrors: number; mirrorCount: number; limit: number }
}

export function createMetrics(build: { git: string }): Metrics {
  const registry = new Registry()
  const registers = [registry]
  const requests = new Counter({
    name: 'gitcache_requests_total',
    help: 'git-upload-pack requests by how they were answered, as nginx reports them.',
    labelNames: ['result'],
    registers,
  })
  const passes = new Counter({
    name: 'gitcache_pass_total',
    help: 'Requests passed to upstream by reason.',
    labelNames: ['reason'],
    registers,
  })
  const durations = new Histogram({
    name: 'gitcache_request_duration_seconds',
    help: 'From the first byte of a request to the last of its answer, as nginx reports it.',
    labelNames: ['result'],
    buckets: SECONDS,
    registers,
  })
  const bytes = new Counter({
    name: 'gitcache_response_bytes_total',
    help: 'Bytes of answers: source="upstream" was passed or is what upstream said to the probe (nak), source="cache" went through us (stored, or while it was made).',
    labelNames: ['source'],
    registers,
  })
  const cut = new Counter({
    name: 'gitcache_cut_total',
    help: 'Requests whose answer did not reach the client whole: he hung up, or it broke off.',
    labelNames: ['result'],
    registers,
  })
  const fromUpstream = new Counter({
    name: 'gitcache_upstream_bytes_total',
    help: 'Bytes that upstream sent to the cache itself: answers of cold repositories, and, about, packs of fetches (by which the mirrors have grown). What the cache saved is gitcache_response_bytes_total{source="cache"} less this.',
    registers,
  })
  const builds = new Histogram({
    name: 'gitcache_pack_build_duration_seconds',
    help: 'Time to make an answer, by git on a mirror or by upstream.',
    labelNames: ['by'],
    buckets: SECONDS,
    registers,
  })
  const packSizes = new Histogram({
    name: 'gitcache_pack_size_bytes',
    help: 'Size of the answers that were made.',
    buckets: BYTES,
    registers,
  })
  const fetches = new Histogram({
    name: 'gitcache_upstream_fetch_duration_seconds',
    help: 'Fetches into mirrors.',
    labelNames: ['outcome'],
    buckets: SECONDS,
    registers,
  })
  const followers = new Counter({
    name: 'gitcache_singleflight_followers_total',
    help: 'Requests that shared an answer which another had asked for first.',
    registers,
  })
  const evictions = new Counter({
    name: 'gitcache_store_evictions_total',
    help: 'What was removed to stay within --cache-size.',
    labelNames: ['what'],
    registers,
  })
  const faults = new Counter({
    name: 'gitcache_faults_total',
    help: 'What is wrong with the machine, an upstream or a repository, by the code in the log.',
    labelNames: ['code'],
    registers,
  })
  // process_* and nodejs_*, by their usual names.
  collectDefaultMetrics({ register: registry })
  new Gauge({
    name: 'gitcache_build_info',
    help: 'Versions of what runs.',
    labelNames: ['version', 'node', 'git'],
    registers,
  }).set({ version: VERSION, node: process.version, git: build.git }, 1)
  for (const result of RESULTS) {
    requests.inc({ result }, 0)
    cut.inc({ result }, 0)
  }
  for (const reason of Object.keys(REASONS)) passes.inc({ reason }, 0)
  for (const source of SOURCES) bytes.inc({ source }, 0)
  for (const what of EVICTED) evictions.inc({ what }, 0)
  for (const code of FAULT_CODES) faults.inc({ code }, 0)

  function report(text: string, size: number, seconds: number, whole: boolean): void {
    const [, result = '', reason] = /^(\w+)(?:; reason=([a-z0-9-]+))?$/.exec(text) ?? []
    if (!(RESULTS as readonly string[]).includes(result)) {
      return
    }
    requests.inc({ result })
    if (!whole) cut.inc({ result })
    durations.observe({ result }, seconds)
    bytes.inc({ source: result === 'pass' || result === 'nak' ? 'upstream' : 'cache' }, size)
    if (reason !== undefined && reason in REASONS) passes.inc({ reason })
  }

  return {
    registry,
    report,
    built: (by, size, seconds) => {
      builds.observe({ by }, seconds)
      packSizes.observe(size)
      if (by === 'upstream') fromUpstream.inc(size)
    },
    fetched: (outcome, size, seconds) => {
      fetches.observe({ outcome }, seconds)
      fromUpstream.inc(size)
    },
    followed: () => followers.inc(),
    evicted: (what) => evictions.inc({ what }),
    fault: (code) => faults.inc({ code }),
  }
}

export function addGauges({ registry }: Metrics, { gitProcesses, gitQueue, sizes }: Gauges): void {
  const rows: [name: string, help: string, read: () => number][] = [
    ['gitcache_git_processes', 'git processes that clients wait for.', gitProcesses],
    ['gitcache_git_queue_length', 'Requests that wait for one.', gitQueue],
    ['gitcache_store_bytes', 'Bytes of stored answers.', () => sizes().packs],
    ['gitcache_mirror_bytes', 'Bytes of mirrors.', () => sizes().mirrors],
    ['gitcache_store_limit_bytes', 'Bytes that both may have together.', () => sizes().limit],
    ['gitcache_mirrors', 'Number of mirrors.', () => sizes().mirrorCount],
  ]
  for (const [name, help, read] of rows) {
    new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        this.set(read())
      },
    })
  }
}
