/**
 * An nginx and a sidecar of a story's own, in the containers of a suite beside the shared ones: to be
 * killed, starved, filled up, or built with a guard taken out.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { docker } from './docker.ts'
import { client, must, onThisMachine, stack } from './servers.ts'
import { nginxConf, type Suite, writeIncludes } from './stack.ts'

export interface PairOptions {
  /** That no other pair has. */
  name: string
  suite: Suite
  /** Its data directory in the containers; below /w where none is given. */
  data?: string
  /** Shell before the sidecar: `ulimit -n 40;`. */
  before?: string
  /** More options of `serve`. */
  args?: string[]
  /** More of nginx's `server {}`, and of its `http {}`. */
  server?: string
  http?: string
  /** Other builds than the real ones, on this machine. */
  builds?: { njs: string; sidecar: string }
}

export interface Pair {
  suite: Suite
  /** Of its nginx in the network. */
  url: string
  /** Its access log, for `results`. */
  log: string
  /** The file of its nginx's process id, in the container. */
  pid: string
  /** Its data directory in the containers; and on this machine, where it is below /w. */
  data: string
  dataHere: string
  startSidecar(): Promise<void>
  /** A signal's name; SIGKILL does not wait. Resolves when it is gone, but for SIGSTOP and SIGCONT. */
  signalSidecar(signal: string): Promise<void>
  /** To nginx's master process. */
  signalNginx(signal: string): Promise<void>
  /** `under`: a command that runs it, as strace. */
  startNginx(under?: string): Promise<void>
  /** What the sidecar has logged, a JSON object a line. */
  logged(): Record<string, unknown>[]
  stop(): Promise<void>
}

let port = 8100

export async function startPair(options: PairOptions): Promise<Pair> {
  const { suite, name } = options
  const { dir } = stack()
  const home = path.join(dir, 'pairs', name)
  const inside = `/w/pairs/${name}`
  const data = options.data ?? `${inside}/data`
  const sidecar = stack().sidecar[suite] as string
  const nginx = client(suite)
  const log = `pair-${name}.log`
  const socket = `${inside}/sidecar.sock`
  port += 1
  const here = port
  mkdirSync(home, { recursive: true })
  writeIncludes(suite, home, options.builds?.njs)
  const http = path.join(home, 'gitcache/gitcache-http.conf')
  writeFileSync(http, readFileSync(http, 'utf8').replace(/unix:\S*sidecar\.sock/, `unix:${socket}`))
  const conf = `
  map "" $gitcache_packs { default ${data}/packs; }
  access_log /w/log/${log} test;
  upstream upstream { server upstream:80; keepalive 16; }
  upstream faults { server upstream:81; }
  map $request_uri $gitcache_upstream { default http://upstream; ~^/fault/ http://faults; }
  server {
    listen ${here};
    client_max_body_size 0;
    proxy_http_version 1.1;
    location / { proxy_pass http://upstream; proxy_set_header Connection ""; include gitcache/gitcache-location.conf; }
    location /fault/ { proxy_pass http://faults; include gitcache/gitcache-location.conf; }
    ${options.server ?? ''}
  }
  ${options.http ?? ''}`
  writeFileSync(path.join(home, 'nginx.conf'), nginxConf(suite, `pair-${name}`, conf))
  await must(sidecar, `mkdir -p ${data}; chown www-data ${data} ${inside}`)

  const program = options.builds
    ? `node ${options.builds.sidecar.replace(dir, '/w')}`
    : '/w/sidecar/bin/nginx-git-cache'
  const serve = [
    ...['serve', '--data', data, '--socket', socket, '--log-level', 'debug'],
    ...['--upstream', 'http://upstream=http://upstream:80'],
    ...['--upstream', 'http://faults=http://upstream:81'],
    ...(options.args ?? []),
  ].join(' ')

  async function startSidecar(): Promise<void> {
    const run = `${options.before ?? ''} echo $$ > ${inside}/sidecar.pid; exec ${program} ${serve} >> ${inside}/sidecar.log 2>&1`
    await docker(['exec', '--detach', '--user', 'www-data', sidecar, 'sh', '-c', run])
    for (let i = 0; i < 100; i++) {
      if (existsSync(path.join(home, 'sidecar.sock'))) return
      await sleep(100)
    }
    throw new Error(`no sidecar:\n${readFileSync(path.join(home, 'sidecar.log'), 'utf8')}`)
  }

  async function signalSidecar(signal: string): Promise<void> {
    const wait = /^SIG(STOP|CONT)$/.test(signal)
      ? ''
      : 'for i in $(seq 600); do kill -0 $pid 2> /dev/null || exit 0; sleep 0.05; done; exit 9'
    const kill = `pid=$(cat ${inside}/sidecar.pid); kill -${signal.slice(3)} $pid || exit 0; ${wait}`
    await must(sidecar, kill)
    if (signal === 'SIGKILL') await must(sidecar, `rm -f ${socket}`)
  }

  const pid = `/run/nginx-pair-${name}.pid`
  const signalNginx = async (signal: string) => {
    await must(nginx, `[ ! -e ${pid} ] || kill -${signal.slice(3)} "$(cat ${pid})"`)
  }
  const startNginx = async (under = '') => {
    await must(nginx, `${under} /usr/sbin/nginx -c ${inside}/nginx.conf`)
  }

  await startSidecar()
  await startNginx()
  return {
    suite,
    url: `http://nginx-${suite}:${here}`,
    log,
    pid,
    data,
    dataHere: onThisMachine(data),
    startSidecar,
    signalSidecar,
    signalNginx,
    startNginx,
    logged: () =>
      readFileSync(path.join(home, 'sidecar.log'), 'utf8')
        .split('\n')
        .filter((line) => line.startsWith('{'))
        .map((line) => JSON.parse(line) as Record<string, unknown>),
    stop: async () => {
      await signalNginx('SIGTERM')
      await signalSidecar('SIGCONT')
      await signalSidecar('SIGINT')
    },
  }
}
