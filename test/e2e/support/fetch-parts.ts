import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { docker, dockerQuietly, runQuietly } from './docker.ts'
import { TEST_LABEL } from './sweep.ts'

const run = promisify(execFile)

const FETCH_MS = 30 * 60_000
const COPY_MS = 5 * 60_000

/** Downloads and compiled packages, kept over rebuilds; the classic builder has no cache mounts. */
const CACHE = ['--volume', 'nginx-git-cache-e2e-cache:/cache']
const CACHE_ENV = {
  GOMODCACHE: '/cache/go-mod',
  GOCACHE: '/cache/go-build',
  PIP_CACHE_DIR: '/cache/pip',
}

/** Where this machine gets its packages from is where a container on it can, too. */
const REGISTRY_SETTINGS = [
  'GOSUMDB',
  'PIP_INDEX_URL',
  'http_proxy',
  'https_proxy',
  'no_proxy',
  'HTTP_PROXY',
  'HTTPS_PROXY',
  'NO_PROXY',
]

const CERTIFICATES = '/etc/ssl/certs/ca-certificates.crt'

/** Go keeps its settings in a file of its own, which only it reads. */
async function goProxy(): Promise<Record<string, string>> {
  const fromGo = await run('go', ['env', 'GOPROXY']).then(
    ({ stdout }) => stdout.trim(),
    () => process.env.GOPROXY
  )
  return fromGo ? { GOPROXY: fromGo } : {}
}

/** A machine's own certificate authority is lent to the container that fetches, never copied. */
function certificateMount(): string[] {
  const file = process.env.SSL_CERT_FILE ?? CERTIFICATES
  return existsSync(file) ? ['--volume', `${file}:${CERTIFICATES}:ro`] : []
}

async function settings(): Promise<Record<string, string>> {
  const inherited: Record<string, string> = {}
  for (const name of REGISTRY_SETTINGS) {
    const value = process.env[name]
    if (value !== undefined) inherited[name] = value
  }
  const certificates = { PIP_CERT: CERTIFICATES, SSL_CERT_FILE: CERTIFICATES }
  return { ...inherited, ...CACHE_ENV, ...certificates, ...(await goProxy()) }
}

/** Has the context's fetch.sh run in a container and brings its /out back as `fetched/`. */
async function fetchInContainer(builder: string, context: string): Promise<void> {
  const env = await settings()
  // Names only: docker takes the values, which may hold a credential, from its own environment.
  const names = Object.keys(env).flatMap((name) => ['--env', name])
  const limits = ['--cpu-shares', '256', '--label', `${TEST_LABEL}=1`]
  const mounts = [...CACHE, ...certificateMount()]
  const container = await docker(
    ['create', ...limits, ...mounts, ...names, builder, 'sh', '/src/fetch.sh'],
    { env }
  )
  try {
    await docker(['cp', `${context}/.`, `${container}:/src`], { timeoutMs: COPY_MS })
    await dockerQuietly(['start', '--attach', container], FETCH_MS)
    await docker(['cp', `${container}:/out`, join(context, 'fetched')], { timeoutMs: COPY_MS })
  } finally {
    await docker(['rm', '--force', '--volumes', container])
  }
}

/** Plain JavaScript is the same everywhere, so the npm that installed this project fetches it. */
async function fetchFromNpm(directory: string): Promise<void> {
  await runQuietly({
    command: 'npm',
    args: ['ci', '--prefix', directory, '--ignore-scripts', '--no-audit', '--no-fund'],
    timeoutMs: FETCH_MS,
    env: process.env,
  })
}

/** Completes a build context with what comes from npm, PyPI and the Go proxy. */
export async function fetchParts(builder: string, context: string): Promise<void> {
  await fetchInContainer(builder, context)
  const npmPackage = join(context, 'iso')
  if (existsSync(join(npmPackage, 'package-lock.json'))) await fetchFromNpm(npmPackage)
}
