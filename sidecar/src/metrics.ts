/** Every metric and label value, declared once. */
import { Counter, Gauge, Registry } from 'prom-client'
import { REASONS } from '../../njs/src/git/reasons.ts'

export const RESULTS = ['hit', 'miss', 'join', 'pass'] as const

export interface Metrics {
  registry: Registry
  /** One answered request, as nginx reported it: `hit`, or `pass; reason=cold`. */
  report(result: string, bytes: number): void
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
  const bytes = new Counter({
    name: 'gitcache_response_bytes_total',
    help: 'Bytes of answers by where they came from.',
    labelNames: ['source'],
    registers,
  })
  new Gauge({
    name: 'gitcache_build_info',
    help: 'Versions of what runs.',
    labelNames: ['node', 'git'],
    registers,
  }).set({ node: process.version, git: build.git }, 1)
  for (const result of RESULTS) requests.inc({ result }, 0)
  for (const reason of Object.keys(REASONS)) passes.inc({ reason }, 0)
  for (const source of ['cache', 'upstream']) bytes.inc({ source }, 0)

  function report(text: string, size: number): void {
    const [, result = '', reason] = /^(\w+)(?:; reason=([a-z0-9-]+))?$/.exec(text) ?? []
    if (!(RESULTS as readonly string[]).includes(result)) {
      return
    }
    requests.inc({ result })
    bytes.inc({ source: result === 'pass' ? 'upstream' : 'cache' }, size)
    if (reason !== undefined && reason in REASONS) passes.inc({ reason })
  }

  return { registry, report }
}
