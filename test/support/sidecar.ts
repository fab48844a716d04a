/** A sidecar's parts, put together as `serve` does, in front of an upstream of the test. */
import { pino } from 'pino'
import { writeCanonicalRequest } from '../../njs/src/git/canonical.ts'
import { keyOf } from '../../njs/src/git/key.ts'
import { openAnswers } from '../../sidecar/src/answers.ts'
import { serveConfig } from '../../sidecar/src/config.ts'
import type { Faults } from '../../sidecar/src/faults.ts'
import { createMetrics } from '../../sidecar/src/metrics.ts'
import type { RawOptions } from '../../sidecar/src/options.ts'
import { openParts } from '../../sidecar/src/parts.ts'
import type { PrepareOrder } from '../../sidecar/src/protocol.ts'
import { createSidecarServer } from '../../sidecar/src/server.ts'
import { prepareLayout } from './layout.ts'
import { sha256 } from './scope.ts'
import { fetchOf, V2 } from './wire.ts'

const UPSTREAM = 'http://upstream'
const REPOSITORY = '/team/app.git'

/** `options`: of `serve`, by name. */
export function assemble(url: string, data: string, options: RawOptions = {}) {
  const upstream = [`${UPSTREAM}=${url}`]
  const config = serveConfig({ data: [data], upstream, socket: [`${data}/socket`], ...options })
  const dirs = prepareLayout(data)
  const told: string[] = []
  const faults = ((code: string) => void told.push(code)) as Faults
  const log = pino({ level: 'silent' })
  const parts = openParts({ config, dirs, log, faults, metrics: createMetrics({ git: 'x' }) })
  const answers = openAnswers(parts)
  const state = { draining: false }
  const server = createSidecarServer({
    answers,
    jobs: parts.jobs,
    large: {} as never,
    secret: '',
    requests: { decided: () => {}, sent: () => {} },
    faults,
    isDraining: () => state.draining,
  })
  return { ...parts, answers, server, faults: told, state }
}

/** What every order says. */
export function headOf(upstream: string, path: string) {
  return { secret: '', id: '', client: '', upstream, vhost: '', path }
}

/** An authorised order of nginx for a v2 request. */
export function orderFor(
  body: string,
  tags: string | null = null,
  repository = REPOSITORY,
  upstream = UPSTREAM
): PrepareOrder {
  const request = fetchOf(body, V2)
  const head = headOf(upstream, repository)
  return {
    ...head,
    key: keyOf(sha256, request, tags, head),
    family: 2,
    request: writeCanonicalRequest(request),
    tags,
    maxTags: 5000,
    progress: false,
  }
}
