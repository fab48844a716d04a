/** A sidecar's parts, put together as `serve` does, in front of an upstream of the test. */
import pLimit from 'p-limit'
import { pino } from 'pino'
import { writeCanonicalRequest } from '../../njs/src/git/canonical.ts'
import { keyOf } from '../../njs/src/git/key.ts'
import { openAnswers } from '../../sidecar/src/answers.ts'
import { type RawOptions, serveConfig } from '../../sidecar/src/config.ts'
import { openConfirm } from '../../sidecar/src/confirm.ts'
import type { Faults } from '../../sidecar/src/faults.ts'
import { gitLimit } from '../../sidecar/src/git-limit.ts'
import { openJobs } from '../../sidecar/src/jobs.ts'
import { createMetrics } from '../../sidecar/src/metrics.ts'
import { openMirrors } from '../../sidecar/src/mirrors.ts'
import type { PrepareOrder } from '../../sidecar/src/protocol.ts'
import { createSidecarServer } from '../../sidecar/src/server.ts'
import { openStore } from '../../sidecar/src/store.ts'
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
  const metrics = createMetrics({ git: 'x' })
  const limit = gitLimit(config.gitProcesses, config.queueLength)
  const store = openStore(dirs)
  const shallow = (repository: string) => void store.purge(repository)
  const whenToMake = config.makeMirrors
  const idle = pLimit(2)
  const mirrors = openMirrors({ dirs, limit, idle, whenToMake, faults, metrics, shallow })
  const confirm = openConfirm(dirs, store, faults, mirrors.setShallow)
  const jobs = openJobs()
  const seeds = pLimit(2)
  const checks = pLimit(2)
  const making = { config, dirs, store, jobs, mirrors, limit, seeds, checks }
  const answers = openAnswers({ ...making, confirm, faults, metrics, log })
  const state = { draining: false }
  const server = createSidecarServer({
    answers,
    jobs,
    large: {} as never,
    secret: '',
    requests: { decided: () => {}, sent: () => {} },
    faults,
    isDraining: () => state.draining,
  })
  return { config, dirs, store, jobs, mirrors, answers, server, faults: told, state }
}

/** An authorised order of nginx for a v2 request. */
export function orderFor(
  body: string,
  tags: string | null = null,
  repository = REPOSITORY
): PrepareOrder {
  const request = fetchOf(body, V2)
  return {
    secret: '',
    id: '',
    client: '',
    upstream: UPSTREAM,
    path: repository,
    key: keyOf(sha256, request, tags, UPSTREAM, repository),
    family: 2,
    request: writeCanonicalRequest(request),
    tags,
    maxTags: 5000,
    progress: false,
  }
}
