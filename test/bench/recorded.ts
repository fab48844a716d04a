/** A fetch as git sends it: recorded from a client, and replayed without it. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { buffer } from 'node:stream/consumers'
import { GIT } from './measure.ts'

/**
 * What git posts last, of the default branch into an empty repository; upstream is asked for all that
 * comes before. `command`: without tags `fetch` and its options, with tags `clone --bare`. Throws
 * where there is none.
 */
export async function record(dir: string, url: string, command: string[]): Promise<string> {
  const { origin, pathname } = new URL(url)
  let recorded = ''
  const server = createServer(async (request, response) => {
    const body = await buffer(request)
    if (body.includes('command=fetch')) {
      recorded = body.toString('latin1')
      // It has what it came for.
      response.writeHead(503).end()
      return
    }
    const answer = await fetch(`${origin}${request.url}`, forwarded(request, body))
    const type = answer.headers.get('content-type') ?? ''
    response.writeHead(answer.status, { 'content-type': type })
    response.end(Buffer.from(await answer.arrayBuffer()))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const into = path.join(dir, 'recorded')
  const git = (...args: string[]) => once(spawn('git', args, { stdio: 'ignore', env: GIT }), 'exit')
  const from = `http://127.0.0.1:${port}${pathname}`
  if (command[0] === 'clone') {
    await git(...command, from, into)
  } else {
    await git('init', '--bare', into)
    await git('--git-dir', into, ...command, from, 'refs/heads/main')
  }
  rmSync(into, { recursive: true, force: true })
  server.close()
  if (recorded === '') throw new Error(`git ${command.join(' ')} ${url}: no fetch, or in gzip`)
  return recorded
}

function forwarded({ method = 'GET', headers }: IncomingMessage, body: Buffer): RequestInit {
  const kept = ['content-type', 'content-encoding', 'git-protocol', 'accept'] as const
  const pairs = kept.flatMap((name) => (headers[name] ? [[name, String(headers[name])]] : []))
  const content = method === 'POST' ? { body: new Uint8Array(body) } : {}
  return { method, headers: pairs as [string, string][], ...content }
}
