/** What a story does with the shared servers: run commands in them, read what they logged. */
import { spawnSync } from 'node:child_process'
import { globSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { inject } from 'vitest'
import { docker } from './docker.ts'
import { untilLogged } from './logged.ts'
import { type Ran, runScript } from './shells.ts'
import type { StackInfo, Suite } from './stack.ts'

export type { Ran } from './shells.ts'

export const stack = (): StackInfo => inject('stack')

/** A path of the containers' /w on this machine. */
export const onThisMachine = (inside: string): string => inside.replace('/w', stack().dir)

export function suites(): Suite[] {
  return Object.keys(stack().nginx) as Suite[]
}

/** git's own switch for its tests: a client writes thousands of refs, and on a slow disk each waits for it. */
const NO_FSYNC = { GIT_TEST_FSYNC: 'false' }

const MAX_MS = 300_000

/** Runs a shell script in a container, as root; both streams are in `out`. */
export async function sh(
  container: string,
  script: string,
  env: Record<string, string> = {}
): Promise<Ran> {
  const exports = Object.entries({ ...NO_FSYNC, ...env })
    .map(([name, value]) => `export ${name}='${value.replaceAll("'", "'\\''")}'\n`)
    .join('')
  const { dir, gitea } = stack()
  if (container !== gitea.id) return runScript(container, dir, exports + script, MAX_MS)
  // It sees no /w.
  const wrapped = `( ${exports}${script}\n) 2>&1; printf '\\n%s' "exit=$?"`
  const out = await docker(['exec', container, 'sh', '-c', wrapped], { timeoutMs: MAX_MS })
  const at = out.lastIndexOf('exit=')
  return { code: Number(out.slice(at + 5)), out: out.slice(0, at).trimEnd() }
}

/** A script that has to succeed. */
export async function must(
  container: string,
  script: string,
  env: Record<string, string> = {}
): Promise<string> {
  const { code, out } = await sh(container, script, env)
  if (code !== 0) throw new Error(`exit ${code}: ${script}\n${out}\n${logs()}`)
  return out
}

export function client(suite: Suite): string {
  const id = stack().nginx[suite]
  if (id === undefined) throw new Error(`no ${suite} image`)
  return id
}

export interface Row {
  test: string
  method: string
  uri: string
  status: number
  result: string
  bytes: number
  protocol: string
  /** $request_id */
  request: string
}

/** The lines of a server's access log, the last answers' among them. */
export function linesOf(file: string): string[] {
  untilLogged()
  return readFileSync(path.join(stack().dir, 'log', file), 'utf8')
    .split('\n')
    .filter(Boolean)
}

function rows(file: string, test: (row: Row) => boolean): Row[] {
  return linesOf(file)
    .map((line) => {
      const [id = '', method = '', uri = '', status = '', result = '', bytes = '', ...rest] =
        line.split('\t')
      const [protocol = '', request = ''] = rest
      return {
        test: id,
        method,
        uri,
        status: Number(status),
        result,
        bytes: Number(bytes),
        protocol,
        request,
      }
    })
    .filter(test)
}

/** nginx's access log of the requests that carried `X-Test: id`. */
export function answered(suite: Suite, id: string, file = `nginx-${suite}.log`): Row[] {
  return rows(file, (row) => row.test === id)
}

/** nginx's access log of the requests whose target begins so: for clients that send no header of ours. */
export function requests(suite: Suite, prefix: string): Row[] {
  return rows(`nginx-${suite}.log`, (row) => row.uri.startsWith(prefix))
}

/** How the fetches of a test were answered, ls-refs left out: `hit`, `pass; reason=…`. */
export function results(suite: Suite, id: string, file?: string): string[] {
  return answered(suite, id, file)
    .filter((row) => row.uri.endsWith('/git-upload-pack'))
    .map((row) => row.result)
    .filter((result) => result !== 'pass; reason=ls-refs')
}

/** How many packs upstream itself made for a test. */
export function packsMade(id: string): number {
  return linesOf('packs.log').filter((line) => line === id).length
}

/**
 * Waits until the sidecar whose data is there (on this machine) has a mirror of the repository. It is
 * made at idle priority, with a file a ref: 24,000 of them take ten seconds, on a busy machine more.
 */
export async function untilMirrored(data: string, repository: string): Promise<void> {
  const name = repository.replace(/\.git$/, '')
  for (let i = 0; i < 1200; i++) {
    if (mirrorNames(data).includes(name)) return
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  throw new Error(`no mirror of ${repository} in ${data}\n${logs()}`)
}

/** Of the sidecar of a suite. */
export function dataOf(suite: Suite): string {
  return path.join(stack().dir, 'data', suite)
}

/** The repositories that a data directory on this machine has mirrors of. */
export function mirrorNames(data: string): string[] {
  return mirrorFiles(data).map(({ of }) => of)
}

/** Each mirror's file, below the data directory, and the repository that it is of. */
export function mirrorFiles(data: string): { file: string; of: string }[] {
  const files = globSync('mirrors/*/*.git/gitcache.json', { cwd: data })
  const of = (file: string) => JSON.parse(readFileSync(path.join(data, file), 'utf8')).repository
  return files.map((file) => ({ file, of: of(file) }))
}

/** The end of every server's log, for the message of a failed test. */
export function logs(): string {
  const { dir } = stack()
  return suites()
    .map((suite) => `nginx-${suite}-main-error.log`)
    .concat('upstream-error.log')
    .map((file) => `--- ${file} ---\n${tail(path.join(dir, 'log', file))}`)
    .concat(suites().map((suite) => `--- sidecar-${suite} ---\n${sidecarLog(suite)}`))
    .join('\n')
}

function sidecarLog(suite: Suite): string {
  const args = ['logs', '--tail', '8', stack().sidecar[suite] ?? '']
  const { stdout, stderr } = spawnSync('docker', args, { encoding: 'utf8', timeout: 10_000 })
  return `${stdout}${stderr}`.trimEnd()
}

function tail(file: string): string {
  try {
    const lines = readFileSync(file, 'utf8')
      .split('\n')
      .filter((line) => !/\[(info|notice)\]/.test(line))
    return lines.slice(-8).join('\n')
  } catch {
    return '(none)'
  }
}

let serial = 0

/** An id that no other test of this run has: X-Test, directories. */
export function uniqueId(prefix: string): string {
  serial += 1
  return `${prefix.replace(/[^a-zA-Z0-9.]+/g, '-')}-${process.pid}-${serial}`
}
