/** Which njs nginx has: nothing but njs says so, and `nginx -V` does not. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Agent, request } from 'undici'
import type { Nginx } from './find-nginx.ts'

/** Milliseconds. */
const PATIENCE = 3000

/** Asks an nginx of a moment, on a socket of its own. Null where it does not start or say. */
export async function askNjsVersion({ binary, jsModule }: Nginx): Promise<string | null> {
  const dir = await mkdtemp(path.join(tmpdir(), 'nginx-git-cache-'))
  const socket = path.join(dir, 'sock')
  await writeFile(
    path.join(dir, 'v.js'),
    'export default { version: r => r.return(200, njs.version) }\n'
  )
  await writeFile(
    path.join(dir, 'nginx.conf'),
    `${jsModule === null ? '' : `load_module ${jsModule};`}
daemon off;
master_process off;
pid ${dir}/pid;
error_log ${dir}/log;
events {}
http {
  access_log off;
  client_body_temp_path ${dir}/body;
  proxy_temp_path ${dir}/proxy;
  js_import v from ${dir}/v.js;
  server { listen unix:${socket}; location / { js_content v.version; } }
}
`
  )
  const args = ['-p', dir, '-e', `${dir}/log`, '-c', `${dir}/nginx.conf`]
  const nginx = spawn(binary, args, { stdio: 'ignore' })
  const ended = once(nginx, 'exit').catch(() => {})
  try {
    return await Promise.race([versionAt(socket), ended.then(() => null)])
  } finally {
    nginx.kill('SIGKILL')
    await ended
    await rm(dir, { recursive: true, force: true })
  }
}

async function versionAt(socketPath: string): Promise<string | null> {
  const dispatcher = new Agent({ connect: { socketPath } })
  const until = Date.now() + PATIENCE
  while (Date.now() < until) {
    const answer = await request('http://nginx/', { dispatcher }).catch(() => null)
    if (answer !== null) return (await answer.body.text()).trim()
    await sleep(20)
  }
  return null
}
