/** The servers of the benchmark: an upstream (Apache, git http-backend), a delay proxy, nginx and the sidecar. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { TINY, WARM_UPS } from './repository.ts'

const ROOT = path.resolve(import.meta.dirname, '../..')
const MODULES = '/etc/apache2/mods-available'
export const PORT = {
  apache: 18181,
  proxy: 18182,
  front: 18190,
  instant: 18191,
  fake: 18192,
  admin: 18193,
}

export interface Proxy {
  /** Milliseconds for a round trip. */
  delay: number
  /** From upstream since the last reset. */
  bytes: number
}

export interface Bench {
  dir: string
  repos: string
  proxy: Proxy
  /** Packs that upstream has made since it was last asked. */
  packs(): number
  /** Packs that the sidecar has made of a mirror. */
  packsHere(): Promise<number>
  /** A sidecar that knows nothing of what is measured, but is warm itself: it has answered for others. */
  cold(...options: string[]): Promise<void>
  /** How many mirrors there are with bitmap and commit-graph. */
  mirrors(): number
  /** CPU seconds of upstream, with all that it has started. */
  upstreamCpu(): number
  /** CPU seconds of our nginx's worker and of the sidecar itself. */
  servingCpu(): number
  /** CPU seconds of our nginx's worker, of which it has one. */
  workerCpu(): number
  /** Kilobytes. */
  sidecarMemory(): number
  stop(): Promise<void>
}

/** Forwards with a delay, and counts: what a distant upstream costs. */
function delayProxy(): { proxy: Proxy; close(): void } {
  const proxy: Proxy = { delay: 0, bytes: 0 }
  const later = (act: () => void) => {
    if (proxy.delay === 0) act()
    else setTimeout(act, proxy.delay / 2)
  }
  const pipe = (from: Socket, to: Socket, count: boolean) => {
    from.on('data', (chunk) => {
      if (count) proxy.bytes += chunk.length
      later(() => {
        if (!to.destroyed && !to.write(chunk)) from.pause()
      })
    })
    to.on('drain', () => from.resume())
    // What was sent before the end still waits to be written.
    from.on('end', () => later(() => to.end()))
    from.on('close', () => from.readableEnded || later(() => to.destroy()))
    from.on('error', () => to.destroy())
  }
  const server = createServer({ noDelay: true }, (client) => {
    const upstream = connect({ port: PORT.apache, host: '127.0.0.1', noDelay: true })
    pipe(client, upstream, false)
    pipe(upstream, client, true)
  })
  server.listen(PORT.proxy, '127.0.0.1')
  return { proxy, close: () => server.close() }
}

/**
 * No connection is kept: before it reads the next request of one, mod_cgid looks every 10 ms whether
 * the last one's process is gone (cleanup_nonchild_process), which it often is not yet where two run.
 */
function apacheConf(dir: string, repos: string): string {
  const module = (name: string, file = name) =>
    `LoadModule ${name}_module /usr/lib/apache2/modules/mod_${file}.so`
  return `ServerRoot ${dir}
PidFile ${dir}/apache.pid
ServerName bench
Listen 127.0.0.1:${PORT.apache}
${module('mpm_event')}
${module('cgid')}
${module('alias')}
${module('env')}
${module('setenvif')}
${module('authz_core')}
ScriptSock ${dir}/cgid.sock
User www-data
Group www-data
Timeout 600
LimitRequestBody 0
ErrorLog ${dir}/apache-error.log
MaxRequestWorkers 400
ServerLimit 16
KeepAlive Off
SetEnv GIT_PROJECT_ROOT ${repos}
SetEnv GIT_HTTP_EXPORT_ALL 1
SetEnv GIT_HTTP_MAX_REQUEST_BUFFER 100M
SetEnv GIT_CONFIG_GLOBAL ${dir}/gitconfig
SetEnvIf Git-Protocol ".*" GIT_PROTOCOL=$0
ScriptAlias / ${dir}/backend.sh/
<Directory ${dir}>
  Require all granted
</Directory>
`
}

/** What both nginx have in common, up to the inside of http. */
function nginxHead(dir: string, name: string): string {
  return `user www-data;
worker_processes 1;
pid ${dir}/${name}.pid;
error_log ${dir}/${name}-error.log warn;
events { worker_connections 4096; }
http {
  access_log off;
  sendfile on;
  keepalive_requests 1000000000;`
}

/** `forge` is the upstream behind the proxy, or one that says yes to each probe at once. */
function nginxConf(dir: string): string {
  const server = (name: string, listen: number, forge: string) => `
  server {
    listen 127.0.0.1:${listen} backlog=1024;
    set $gitcache_upstream http://${name};
    client_max_body_size 0;
    proxy_http_version 1.1;
    proxy_read_timeout 600s;
    location / { proxy_pass http://${forge}; proxy_set_header Connection ""; include gitcache/gitcache-location.conf; }
    location /static/ { alias ${dir}/static/; }
    location /authorised/ { auth_request /ask; alias ${dir}/static/; error_page 405 = $uri; }
    location = /ask { internal; proxy_pass http://fake/x/git-upload-pack; proxy_set_header Connection ""; proxy_pass_request_body off; proxy_set_header Content-Length ""; }
  }`
  return `load_module /usr/lib/nginx/modules/ngx_http_js_module.so;
${nginxHead(dir, 'nginx')}
  include gitcache/gitcache-http.conf;
  map "" $gitcache_packs { default ${dir}/data/packs; }
  upstream forge { server 127.0.0.1:${PORT.proxy}; keepalive 64; }
  upstream fake { server 127.0.0.1:${PORT.fake}; keepalive 64; keepalive_requests 1000000000; }
${server('forge', PORT.front, 'forge')}
${server('fake', PORT.instant, 'fake')}
}
`
}

/** An upstream whose probe costs nothing: what is left is our own cost. */
function fakeConf(dir: string): string {
  return `${nginxHead(dir, 'fake')}
  server {
    listen 127.0.0.1:${PORT.fake};
    location / { default_type application/x-git-upload-pack-result; return 200 "0014acknowledgments\\n0008NAK\\n0000"; }
  }
}
`
}

function writeSite(dir: string): void {
  mkdirSync(path.join(dir, 'gitcache'), { recursive: true })
  for (const name of ['gitcache-http.conf', 'gitcache-location.conf']) {
    const text = readFileSync(path.join(ROOT, 'nginx', name), 'utf8')
    const socket = `${dir}/data/sidecar/sidecar.sock`
    const file = path.join(dir, 'gitcache', name)
    writeFileSync(file, text.replace('/run/nginx-git-cache/sidecar.sock', socket))
  }
  copyFileSync(path.join(ROOT, 'dist/gitcache.js'), path.join(dir, 'gitcache/gitcache.js'))
  for (const file of ['sidecar/bin/nginx-git-cache', 'dist/nginx-git-cache.mjs']) {
    mkdirSync(path.dirname(path.join(dir, file)), { recursive: true })
    copyFileSync(path.join(ROOT, file), path.join(dir, file))
  }
  writeFileSync(path.join(dir, 'nginx.conf'), nginxConf(dir))
  writeFileSync(path.join(dir, 'fake.conf'), fakeConf(dir))
  const script = (name: string, text: string) => {
    writeFileSync(path.join(dir, name), `#!/bin/bash\n${text}\n`)
    chmodSync(path.join(dir, name), 0o755)
  }
  script('pack-hook.sh', `echo x >> ${dir}/packs.log\nexec "$@"`)
  script('backend.sh', `/usr/lib/git-core/git-http-backend\ntimes >> ${dir}/cpu.log`)
  for (const name of ['packs.log', 'cpu.log']) {
    writeFileSync(path.join(dir, name), '')
    chmodSync(path.join(dir, name), 0o666)
  }
  writeFileSync(
    path.join(dir, 'gitconfig'),
    `[safe]\n\tdirectory = *\n[uploadpack]\n\tpackObjectsHook = ${dir}/pack-hook.sh\n`
  )
}

async function answers(port: number): Promise<void> {
  for (let i = 0; i < 100; i++) {
    const socket = connect({ port, host: '127.0.0.1' })
    const open = await Promise.race([
      once(socket, 'connect').then(() => true),
      once(socket, 'error').then(() => false),
    ]).catch(() => false)
    socket.destroy()
    if (open) return
    await sleep(100)
  }
  throw new Error(`nothing listens on ${port}`)
}

function pidIn(file: string): number {
  return Number(readFileSync(file, 'utf8'))
}

/** Seconds on a processor, of all threads; to the nanosecond (the kernel's sched-stats.rst), where proc_pid_stat(5) counts in ticks. */
function cpuOf(pid: number): number {
  const threads = readdirSync(`/proc/${pid}/task`)
  const times = threads.map((thread) => {
    const [time = 0] = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')
    return Number(time) / 1e9
  })
  return times.reduce((sum, time) => sum + time, 0)
}

/** proc_pid_stat(5): fields 14 to 17, own time and that of children that were waited for. Seconds. */
function cpuOfTree(root: number): number {
  const parents = new Map<number, number>()
  const times = new Map<number, number>()
  for (const name of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8')
      const fields = stat
        .slice(stat.lastIndexOf(')') + 2)
        .split(' ')
        .map(Number)
      parents.set(Number(name), fields[1] ?? 0)
      times.set(Number(name), fields.slice(11, 15).reduce((a, b) => a + b, 0) / 100)
    } catch {
      // It has ended meanwhile.
    }
  }
  const within = (pid: number): boolean =>
    pid === root || (pid > 1 && within(parents.get(pid) ?? 0))
  return [...times].filter(([pid]) => within(pid)).reduce((sum, [, time]) => sum + time, 0)
}

/**
 * What `times` of bash has written, a line of its own times and one of its children's, minutes and seconds
 * (dash counts in ticks of 10 ms, more than a probe takes). Apache's cgid leaves its children's to nobody.
 */
function cpuIn(file: string): number {
  const lines = readFileSync(file, 'utf8').split('\n')
  const children = lines.filter((_, i) => i % 2 === 1).join('\n')
  const times = children.matchAll(/(\d+)m([\d.]+)s/g)
  return [...times].reduce((sum, [, m, s]) => sum + Number(m) * 60 + Number(s), 0)
}

export async function startBench(dir: string, repos: string): Promise<Bench> {
  rmSync(dir, { recursive: true, force: true })
  mkdirSync(path.join(dir, 'static'), { recursive: true })
  chmodSync(dir, 0o755)
  writeSite(dir)
  writeFileSync(path.join(dir, 'apache.conf'), apacheConf(dir, repos))
  const { proxy, close } = delayProxy()
  const apache = spawn('apache2', ['-d', dir, '-f', `${dir}/apache.conf`, '-DFOREGROUND'], {
    stdio: 'inherit',
    env: { ...process.env, APACHE_CONFDIR: MODULES },
  })
  let sidecar: ChildProcess | null = null

  function worker(): number {
    const pid = pidIn(`${dir}/nginx.pid`)
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
    return Number(children.trim().split(' ').at(-1))
  }

  async function stopSidecar(): Promise<void> {
    if (sidecar === null) return
    sidecar.kill('SIGTERM')
    await once(sidecar, 'exit')
    sidecar = null
  }

  async function warmUp(name: string, ...depth: string[]): Promise<void> {
    const into = path.join(dir, 'warm-up')
    rmSync(into, { recursive: true, force: true })
    const url = `http://127.0.0.1:${PORT.front}/${name}`
    await once(spawn('git', ['clone', '-q', '--bare', ...depth, url, into]), 'exit')
  }

  function mirrors(): number {
    const names = readdirSync(path.join(dir, 'data/mirrors'), { recursive: true }) as string[]
    return names.filter((name) => path.basename(name) === 'commit-graph').length
  }

  async function cold(...more: string[]): Promise<void> {
    await stopSidecar()
    rmSync(path.join(dir, 'data'), { recursive: true, force: true })
    mkdirSync(path.join(dir, 'data'))
    execFileSync('chown', ['www-data:www-data', path.join(dir, 'data')])
    const socket = `${dir}/data/sidecar/sidecar.sock`
    const admin = `127.0.0.1:${PORT.admin}`
    const options = ['--data', `${dir}/data`, '--socket', socket, '--admin', admin, ...more]
    const upstreams = [
      '--upstream',
      `http://forge=http://127.0.0.1:${PORT.proxy}`,
      '--upstream',
      `http://fake=http://127.0.0.1:${PORT.apache}`,
    ]
    const user = ['--reuid=www-data', '--regid=www-data', '--clear-groups']
    const command = [`${dir}/sidecar/bin/nginx-git-cache`, 'serve', ...options, ...upstreams]
    sidecar = spawn('setpriv', [...user, ...command], { stdio: ['ignore', 'pipe', 'inherit'] })
    let log = ''
    sidecar.stdout?.on('data', (chunk) => (log += chunk))
    for (let i = 0; i < 100 && !log.includes('"ready"'); i++) await sleep(50)
    const { delay } = proxy
    proxy.delay = 0
    for (const name of WARM_UPS) await warmUp(name)
    await warmUp(TINY, '--depth', '1')
    for (let i = 0; i < 300 && mirrors() < WARM_UPS.length; i++) await sleep(100)
    proxy.delay = delay
  }

  const binaries = ['nginx.conf', 'fake.conf'].map((conf) =>
    spawn('nginx', ['-p', dir, '-c', `${dir}/${conf}`, '-g', 'daemon off;'], { stdio: 'inherit' })
  )
  // The sidecar's own comes with it.
  for (const port of Object.values(PORT)) if (port !== PORT.admin) await answers(port)
  await cold()

  return {
    dir,
    repos,
    proxy,
    packs: () => {
      const count = readFileSync(path.join(dir, 'packs.log'), 'utf8').length / 2
      writeFileSync(path.join(dir, 'packs.log'), '')
      return count
    },
    packsHere: async () => {
      const text = await (await fetch(`http://127.0.0.1:${PORT.admin}/metrics`)).text()
      return Number(
        /^gitcache_pack_build_duration_seconds_count\{by="mirror"\} (\d+)/m.exec(text)?.[1] ?? 0
      )
    },
    cold,
    mirrors,
    upstreamCpu: () => cpuOfTree(apache.pid ?? -1) + cpuIn(path.join(dir, 'cpu.log')),
    servingCpu: () => cpuOf(worker()) + cpuOf(sidecar?.pid ?? -1),
    workerCpu: () => cpuOf(worker()),
    sidecarMemory: () => {
      const status = readFileSync(`/proc/${sidecar?.pid}/status`, 'utf8')
      return Number(/VmHWM:\s+(\d+)/.exec(status)?.[1])
    },
    stop: async () => {
      await stopSidecar()
      for (const child of [...binaries, apache]) {
        child.kill('SIGTERM')
        await once(child, 'exit')
      }
      close()
    },
  }
}
