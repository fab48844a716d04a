/** `nginx-git-cache run`: nginx and the sidecar, supervised, one foreground process. */
import type { ChildProcess } from 'node:child_process'
import { existsSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { serveConfig } from '../config.ts'
import { refuseIfInUse } from '../control.ts'
import { UserError } from '../errors.ts'
import { type Name, OPTIONS, one, type RawOptions, twinOf } from '../options.ts'
import { PASSWORD, sampleTarget, startSample } from '../sample/sample.ts'
import type { Upstream } from '../upstreams.ts'
import { findNginx } from './find-nginx.ts'
import { type Target, targetOf } from './nginx-conf.ts'
import {
  type Directories,
  defaultData,
  forgetProcesses,
  giveToUser,
  leaveNothing,
  makeDirectories,
  type SidecarProgram,
} from './run-directories.ts'
import { checkListen, freePort, nginxArgs, testSite, writeSite } from './run-nginx.ts'
import { spawnChild, stopChild, supervise } from './supervise.ts'
import { findUser, type User } from './users.ts'

export async function run(raw: RawOptions): Promise<void> {
  // What the sidecar would refuse is said at once, and not by each of its restarts.
  const { upstreams: given } = serveConfig({ ...raw, socket: [], 'secret-file': [] })
  checkForNginx(raw, given)
  const nginx = findNginx()
  const listen = await checkListen(one(raw, 'listen') ?? '')
  const data = one(raw, 'data') ?? defaultData()
  const user = process.getuid?.() === 0 ? findUser(nginx.user) : null
  await refuseIfInUse(data)
  const dirs = await makeDirectories(data, user)
  await forgetProcesses(dirs)
  const program = await giveToUser(dirs, user)
  const sample = given.length === 0 ? await startSample(data) : null
  const targets = sample === null ? given.map(targetOf) : [sampleTarget(sample)]
  const byPath = given.length > 1 || raw['upstream-by-path'] !== undefined
  const reports = `127.0.0.1:${await freePort()}`
  await writeSite(dirs, nginx, user, { listen, targets, byPath, reports })
  testSite(nginx, dirs)

  const stop = stopSignal()
  const sidecar = supervise(
    () => startSidecar(raw, dirs, program, user, targets, reports),
    (line) => console.error(`nginx-git-cache: ${line}`),
    (pid) => writeFileSync(path.join(dirs.run, 'sidecar.pid'), `${pid}\n`)
  )
  const web = spawnChild(nginx.binary, nginxArgs(dirs), process.env)
  const ended = new Promise<'nginx'>((resolve) => {
    web.once('exit', () => resolve('nginx'))
    web.once('error', () => resolve('nginx'))
  })
  const over = Promise.race([stop, ended, sidecar.refused])
  // nginx -t has left an empty one; nginx writes it when it listens.
  const pid = path.join(dirs.run, 'nginx.pid')
  const up = () => !!statSync(pid, { throwIfNoEntry: false })?.size && existsSync(dirs.socket)
  if (await becomes(up, over)) announce(listen, targets, byPath, sample !== null)

  const first = await over
  await stopChild(web, 'SIGQUIT' as NodeJS.Signals)
  await sidecar.stop()
  sample?.close()
  await leaveNothing(dirs)
  if (first === 'refused') {
    throw new UserError('GITCACHE_COMMAND', 'the sidecar did not start', 'see its line above')
  }
  if (first === 'nginx') {
    throw new UserError(
      'GITCACHE_NGINX',
      'nginx ended by itself',
      `see ${dirs.log}/nginx-error.log`
    )
  }
}

/** What nginx of `run` cannot do, or would not take. */
function checkForNginx(raw: RawOptions, upstreams: readonly Upstream[]): void {
  const data = one(raw, 'data') ?? ''
  if (/[\s;{}$"'\\]/.test(data)) {
    throw new UserError(
      'GITCACHE_DATA',
      `--data ${data} has characters that nginx would read as more than a name`,
      'give a directory without spaces, quotes and ; { } $'
    )
  }
  if (one(raw, 'proxy') !== undefined) {
    throw new UserError(
      'GITCACHE_OPTION',
      '--proxy: nginx cannot reach upstreams by a proxy, so neither can run',
      'use serve behind an nginx of yours'
    )
  }
  const hosts = upstreams.map(({ url }) => new URL(url).host)
  const twice = hosts.find((host, i) => hosts.indexOf(host) !== i)
  if (twice !== undefined) {
    throw new UserError(
      'GITCACHE_UPSTREAM',
      `--upstream is given twice for ${twice}`,
      'give it once, without a path: all of its repositories are below it'
    )
  }
}

function startSidecar(
  raw: RawOptions,
  dirs: Directories,
  program: SidecarProgram,
  user: User | null,
  targets: Target[],
  reports: string
): ChildProcess {
  const args = [
    program.main,
    'serve',
    `--data=${dirs.data}`,
    `--socket=${dirs.socket}`,
    `--reports=${reports}`,
    '--drain=0',
    ...targets.map(({ name, url }) => `--upstream=${name}=${url}`),
  ]
  // As sidecar/bin/nginx-git-cache has it for serve.
  const threads = process.env.UV_THREADPOOL_SIZE ?? '16'
  const env = { ...process.env, ...twins(raw), UV_THREADPOOL_SIZE: threads }
  return spawnChild(program.node, args, env, user)
}

/**
 * What is not `run`'s own to decide, as it was given. By the environment: a proxy's address may hold a
 * password, and everyone sees arguments.
 */
function twins(raw: RawOptions): NodeJS.ProcessEnv {
  const isOwn = (name: Name) => name === 'upstream' || name === 'data' || 'of' in OPTIONS[name]
  const names = Object.keys(OPTIONS) as Name[]
  return Object.fromEntries(
    names.map((name) => [twinOf(name), isOwn(name) ? '' : (one(raw, name) ?? '')])
  )
}

/** Whether it is true before the other thing has happened; asked for as long as it takes. */
async function becomes(condition: () => boolean, ended: Promise<unknown>): Promise<boolean> {
  let over = false
  ended.then(() => {
    over = true
  })
  while (!over && !condition()) await sleep(50)
  return !over
}

function announce(listen: string, targets: Target[], byPath: boolean, sample: boolean): void {
  const base = `http://${listen}`
  console.log(`ready ${base}`)
  if (sample) {
    console.log(`git clone ${base}/public/sample.git sample-1   # X-Git-Cache: miss`)
    console.log(`git clone ${base}/public/sample.git sample-2   # X-Git-Cache: hit`)
    console.log(
      `git clone http://me:${PASSWORD}@${listen}/private/sample.git private   # without me:${PASSWORD}@: 401`
    )
    return
  }
  const place = byPath ? `${base}/${targets[0]?.host}/` : `${base}/`
  console.log(`git clone ${place}OWNER/REPOSITORY`)
  console.log(
    `git config --global url.${place}.insteadOf ${targets[0]?.url}${targets[0]?.pathPrefix}/`
  )
}

function stopSignal(): Promise<'signal'> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.on(signal, () => resolve('signal'))
    }
  })
}
