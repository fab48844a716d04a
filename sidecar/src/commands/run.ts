/** `nginx-git-cache run`: nginx and the sidecar, supervised, one foreground process. */
import { type ChildProcess, execFileSync } from 'node:child_process'
import { accessSync, constants, existsSync, writeFileSync } from 'node:fs'
import { chown, cp, link, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { createServer, type Server } from 'node:net'
import { homedir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { one, type RawOptions, readUpstreams, splitAddress, type Upstream } from '../config.ts'
import { UserError } from '../errors.ts'
import { layout } from '../layout.ts'
import { createSampleUpstream } from '../sample/http-backend.ts'
import { makeSampleRepository } from '../sample/repositories.ts'
import { findNginx, type Nginx } from './find-nginx.ts'
import { type Target, targetOf, writeNginxConf } from './nginx-conf.ts'
import { spawnChild, stopChild, supervise } from './supervise.ts'
import { canReach, findUser, type User } from './users.ts'

const here = path.dirname(fileURLToPath(import.meta.url))
const PASSWORD = 'secret'

export async function run(raw: RawOptions): Promise<void> {
  const nginx = findNginx()
  const listen = await checkListen(one(raw, 'listen') ?? '')
  const data = path.resolve(one(raw, 'data') ?? defaultData())
  const given = readUpstreams(raw)
  const user = process.getuid?.() === 0 ? findUser(nginx.user) : null
  const dirs = await makeDirectories(data, user)
  const program = await giveToUser(dirs, user)
  const sample = given.length === 0 ? await startSample(data) : null
  const targets = given.length === 0 ? [sampleTarget(sample as Server)] : given.map(targetOf)
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
  const ended = new Promise<'nginx'>((resolve) => web.once('exit', () => resolve('nginx')))
  await waitFor(
    () => existsSync(path.join(dirs.run, 'nginx.pid')) && existsSync(dirs.socket),
    ended
  )
  announce(listen, targets, byPath, sample !== null)

  const first = await Promise.race([stop, ended])
  await stopChild(web, 'SIGQUIT' as NodeJS.Signals)
  await sidecar.stop()
  sample?.close()
  await leaveNothing(dirs)
  if (first === 'nginx') {
    throw new UserError(
      'GITCACHE_NGINX',
      'nginx ended by itself',
      `see ${dirs.log}/nginx-error.log`
    )
  }
}

interface Directories {
  data: string
  prefix: string
  run: string
  log: string
  packs: string
  socket: string
}

function defaultData(): string {
  return process.getuid?.() === 0
    ? '/var/cache/nginx-git-cache'
    : path.join(process.env.XDG_CACHE_HOME ?? path.join(homedir(), '.cache'), 'nginx-git-cache')
}

async function makeDirectories(data: string, user: User | null): Promise<Directories> {
  const dirs = {
    data,
    prefix: path.join(data, 'nginx'),
    run: path.join(data, 'run'),
    log: path.join(data, 'log'),
    packs: path.join(data, 'packs'),
    socket: path.join(data, 'sidecar', 'sidecar.sock'),
  }
  if (dirs.socket.length > 100) {
    throw new UserError(
      'GITCACHE_DATA',
      `--data ${data} is too long for a socket in it`,
      'give a shorter one'
    )
  }
  try {
    // mkdir(1): Node's own never comes back from a directory in /proc.
    const made = [dirs.run, dirs.log, path.join(dirs.prefix, 'tmp')]
    execFileSync('mkdir', ['-p', ...made], { stdio: 'pipe' })
    accessSync(data, constants.W_OK)
  } catch (error) {
    const said = String((error as { stderr?: Buffer }).stderr ?? error).trim()
    const why = said.split('\n')[0]?.split(': ').pop()
    throw new UserError(
      'GITCACHE_DATA',
      `--data ${data} cannot be written: ${why}`,
      'give another directory'
    )
  }
  checkReachable(data, user)
  return dirs
}

/** As root, nginx's workers and the sidecar are another user: below /root they find nothing. */
function checkReachable(data: string, user: User | null): void {
  if (user !== null && !canReach(user, data, '-x')) {
    throw new UserError(
      'GITCACHE_DATA',
      `--data ${data} cannot be reached by nginx's user ${user.name}`,
      `give a directory outside of private ones, such as ${defaultData()}`
    )
  }
}

/** What the sidecar's user has to be able to write and to run. */
async function giveToUser(dirs: Directories, user: User | null): Promise<SidecarProgram> {
  const main = fileURLToPath(import.meta.url)
  if (user === null) {
    return { node: process.execPath, main }
  }
  for (const dir of Object.values(layout(dirs.data))) {
    await mkdir(dir, { recursive: true, mode: 0o750 })
    await chown(dir, user.uid, user.gid)
  }
  return {
    node: await reachable(process.execPath, dirs, user),
    main: await reachable(main, dirs, user),
  }
}

/** The file itself, or a link or copy below DATA of one that stands in a private directory. */
async function reachable(file: string, dirs: Directories, user: User): Promise<string> {
  if (canReach(user, file, '-r')) {
    return file
  }
  const copy = path.join(dirs.data, 'lib', path.basename(file))
  await mkdir(path.dirname(copy), { recursive: true })
  await rm(copy, { force: true })
  await link(file, copy).catch(() => cp(file, copy))
  return copy
}

interface SidecarProgram {
  node: string
  main: string
}

async function checkListen(address: string): Promise<string> {
  const [host, port] = splitAddress(address)
  if (host === '' || !Number.isInteger(port) || port < 1 || port > 65535) {
    throw new UserError(
      'GITCACHE_LISTEN',
      `--listen ${address} is not HOST:PORT`,
      'give one like 127.0.0.1:8080'
    )
  }
  const server = createServer()
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const why = error.code === 'EADDRINUSE' ? 'is taken' : `cannot be used (${error.code})`
      reject(
        new UserError(
          'GITCACHE_LISTEN',
          `--listen ${address} ${why}`,
          'give another --listen HOST:PORT'
        )
      )
    })
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve()))
  })
  return address
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** DIR/upstream keeps the sample repositories; what else is put there is served too. */
async function startSample(data: string): Promise<Server> {
  const root = path.join(data, 'upstream')
  await mkdir(root, { recursive: true })
  await makeSampleRepository(path.join(root, 'public', 'sample.git'))
  await makeSampleRepository(path.join(root, 'private', 'sample.git'))
  const server = createSampleUpstream({
    root,
    logFile: path.join(data, 'log', 'upstream.log'),
    protectedPath: '/private/',
    user: 'me',
    password: PASSWORD,
  })
  server.listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  return server
}

/** Its port changes with every start, its name in the keys does not. */
function sampleTarget(server: Server): Target {
  const { port } = server.address() as AddressInfo
  const upstream: Upstream = { name: '', url: `http://127.0.0.1:${port}` }
  return { ...targetOf(upstream), name: 'http://sample', block: 'sample', host: 'sample' }
}

interface SiteOptions {
  listen: string
  targets: Target[]
  byPath: boolean
  reports: string
}

async function writeSite(
  dirs: Directories,
  nginx: Nginx,
  user: User | null,
  options: SiteOptions
): Promise<void> {
  const includes = path.join(dirs.prefix, 'gitcache')
  await mkdir(includes, { recursive: true })
  await cp(path.join(here, 'gitcache.js'), path.join(includes, 'gitcache.js'))
  for (const name of ['gitcache-http.conf', 'gitcache-location.conf']) {
    const text = await readFile(path.join(here, '..', 'nginx', name), 'utf8')
    const socket = text.replace('unix:/run/nginx-git-cache/sidecar.sock', `unix:${dirs.socket}`)
    await writeFile(path.join(includes, name), socket)
  }
  const { targets, ...rest } = options
  const conf = writeNginxConf({
    ...rest,
    dirs,
    jsModule: nginx.jsModule,
    user: user?.name ?? null,
    upstreams: targets,
  })
  await writeFile(path.join(dirs.prefix, 'nginx.conf'), conf)
}

function nginxArgs(dirs: Directories): string[] {
  const conf = path.join(dirs.prefix, 'nginx.conf')
  return [
    '-p',
    dirs.prefix,
    '-c',
    conf,
    '-e',
    path.join(dirs.log, 'nginx-error.log'),
    '-g',
    'daemon off;',
  ]
}

function testSite(nginx: Nginx, dirs: Directories): void {
  try {
    execFileSync(nginx.binary, ['-t', ...nginxArgs(dirs)], { stdio: 'pipe' })
  } catch (error) {
    const lines = String((error as { stderr?: Buffer }).stderr ?? error)
      .trim()
      .split('\n')
    const emerg = lines.find((line) => line.includes('[emerg]')) ?? lines[0] ?? ''
    throw new UserError(
      'GITCACHE_NGINX',
      emerg.replace(/^.*\[emerg\] /, 'nginx: '),
      'a name that does not resolve, or nginx without its js module (apt-get install libnginx-mod-http-js)'
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
  const passedOn = (
    [
      'ca-file',
      'client-cert',
      'client-key',
      'proxy',
      'admin',
      'git-processes',
      'make-mirrors',
      'cache-size',
      'queue-length',
      'max-wait',
      'commit-after',
      'stall-after',
      'keep-mirrors',
      'max-body',
      'log-level',
    ] as const
  ).flatMap((name) => (raw[name] === undefined ? [] : [`--${name}`, one(raw, name) ?? '']))
  const upstreams = targets.flatMap((target) => ['--upstream', `${target.name}=${target.url}`])
  return spawnChild(
    program.node,
    [
      program.main,
      'serve',
      '--data',
      dirs.data,
      '--drain',
      '0',
      '--socket',
      dirs.socket,
      '--reports',
      reports,
      ...upstreams,
      ...passedOn,
    ],
    { ...process.env, GITCACHE_UPSTREAM: '' },
    user
  )
}

async function waitFor(condition: () => boolean, ended: Promise<unknown>): Promise<void> {
  let over = false
  ended.then(() => {
    over = true
  })
  for (let i = 0; i < 300 && !over && !condition(); i++) {
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

function announce(listen: string, targets: Target[], byPath: boolean, sample: boolean): void {
  const base = `http://${listen}`
  console.log(`ready ${base}`)
  if (sample) {
    console.log(`git clone ${base}/public/sample.git   # twice: X-Git-Cache: miss, then hit`)
    console.log(
      `git clone http://me:${PASSWORD}@${listen}/private/sample.git   # without me:${PASSWORD}@: 401`
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

async function leaveNothing(dirs: Directories): Promise<void> {
  for (const name of ['nginx.pid', 'sidecar.pid'])
    await rm(path.join(dirs.run, name), { force: true })
  await rm(path.join(dirs.prefix, 'tmp'), { recursive: true, force: true })
  await rm(dirs.socket, { force: true })
}
