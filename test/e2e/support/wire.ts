/** Requests that no git client would send, or not just then: written by hand and sent by curl. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect } from 'vitest'
import { cacheOf, DIRECT } from './repositories.ts'
import { client, must, results, sh, stack, uniqueId } from './servers.ts'
import type { Suite } from './stack.ts'

export interface Ask {
  path: string
  body?: Buffer | string
  headers?: string[]
  method?: string
  /** Seconds until curl hangs up. */
  seconds?: number
  /** How much curl reads in a second at most, as `1M`. */
  rate?: string
  /** The Git-Protocol header; default is version 2. */
  protocol?: 0 | 2
}

export interface Answer {
  /** Of curl: 28 is a timeout. */
  code: number
  status: number
  /** Lower-case names; what differs between any two answers is left out. */
  headers: Record<string, string>
  body: Buffer
  /** X-Git-Cache. */
  header?: string | undefined
  /** How nginx says that it answered. */
  results: string[]
  id: string
}

/** Sends one request from a suite's container. */
export async function ask(suite: Suite, origin: string, request: Ask): Promise<Answer> {
  const id = uniqueId('wire')
  const dir = path.join(stack().dir, 'work', id)
  mkdirSync(dir)
  const headers = [`X-Test: ${id}`, ...(request.headers ?? [])]
  if (request.body !== undefined) {
    writeFileSync(path.join(dir, 'in'), request.body)
    headers.push(
      'Content-Type: application/x-git-upload-pack-request',
      'Accept: application/x-git-upload-pack-result'
    )
  }
  if (request.protocol !== 0) headers.push('Git-Protocol: version=2')
  const args = [
    `-sS --path-as-is --http1.1 -m ${request.seconds ?? 60} -D head -o out`,
    ...headers.map((header) => `-H '${header}'`),
    request.method ? `-X ${request.method}` : '',
    request.rate ? `--limit-rate ${request.rate}` : '',
    request.body === undefined ? '' : '--data-binary @in',
    `'${origin}${request.path}'`,
  ]
  const script = `cd /w/work/${id} && touch head out && curl ${args.join(' ')}`
  const { code } = await sh(client(suite), script)
  const [status, parsed] = readHead(readFileSync(path.join(dir, 'head'), 'latin1'))
  const body = readFileSync(path.join(dir, 'out'))
  rmSync(dir, { recursive: true, force: true })
  const { 'x-git-cache': header, ...headersSeen } = parsed
  return {
    code,
    status,
    headers: headersSeen,
    header,
    body,
    results: results(suite, id),
    id,
  }
}

const VARYING = /^(date|server|connection|keep-alive|transfer-encoding|content-length)$/

function readHead(text: string): [number, Record<string, string>] {
  const [first = '', ...lines] = text.trim().split('\r\n\r\n').at(-1)?.split('\r\n') ?? []
  const pairs = lines.map((line) => /^([^:]+): ?(.*)$/.exec(line)?.slice(1) ?? [])
  const kept = pairs.filter(([name = '']) => !VARYING.test(name.toLowerCase()))
  const headers = Object.fromEntries(
    kept.map(([name = '', value = '']) => [name.toLowerCase(), value])
  )
  return [Number(first.split(' ')[1] ?? 0), headers]
}

function pkt(line: string): string {
  const special = line === '0000' || line === '0001'
  return special ? line : `${(line.length + 5).toString(16).padStart(4, '0')}${line}\n`
}

/** A v2 fetch with these argument lines. */
export function fetchV2(...args: string[]): string {
  return ['command=fetch', 'agent=git/test', '0001', ...args, '0000'].map(pkt).join('')
}

/** A v0 request: the lines before the flush, capabilities on the first, then `done`. */
export function fetchV0(...lines: string[]): string {
  const [first = '', ...rest] = lines
  const capable = `${first} side-band-64k thin-pack ofs-delta no-progress`
  return [capable, ...rest, '0000', 'done'].map(pkt).join('')
}

/** What an answer means: text as it is, and for a pack the objects that are in it. */
export async function meaning(suite: Suite, answer: Answer): Promise<Record<string, unknown>> {
  const { code, status, headers } = answer
  const read = readPkts(answer.body)
  const said = read ? read.lines : answer.body.toString('latin1')
  const objects = read?.pack.length ? await objectsOf(suite, read.pack) : null
  const shown = Object.fromEntries(
    ['content-type', 'www-authenticate', 'location'].map((name) => [name, headers[name]])
  )
  return { code, status, ...shown, said, objects }
}

export interface Both {
  direct: Answer
  cached: Answer
  /** Of the cached one, which is that of the direct one. */
  meaning: Record<string, unknown>
}

/** The same request straight to upstream and to nginx of a suite: both must mean the same. */
export async function askBoth(suite: Suite, request: Ask): Promise<Both> {
  const origins = [DIRECT, cacheOf(suite)]
  const both = await Promise.all(origins.map((origin) => ask(suite, origin, request)))
  const [direct, cached] = both as [Answer, Answer]
  const [expected, actual] = await Promise.all(both.map((answer) => meaning(suite, answer)))
  expect(actual, `${request.path}, ${cached.results}`).toEqual(expected)
  return { direct, cached, meaning: actual as Record<string, unknown> }
}

function readPkts(body: Buffer): { lines: string[]; pack: Buffer } | null {
  const lines: string[] = []
  const bands: Buffer[] = []
  let at = 0
  while (at < body.length) {
    const size = Number.parseInt(body.toString('latin1', at, at + 4), 16)
    if (Number.isNaN(size) || at + size > body.length) return null
    const payload = body.subarray(at + 4, at + Math.max(size, 4))
    if (size <= 4) lines.push(String(size))
    else if (payload[0] === 1) bands.push(payload.subarray(1))
    else if (payload[0] !== 2) lines.push(payload.toString('latin1').trimEnd())
    at += Math.max(size, 4)
  }
  return { lines, pack: Buffer.concat(bands) }
}

/** The ids of all objects of a pack that must be whole in itself: nothing that refers outside. */
async function objectsOf(suite: Suite, pack: Buffer): Promise<string[]> {
  const id = uniqueId('pack')
  writeFileSync(path.join(stack().dir, 'work', id), pack)
  const out = await must(
    client(suite),
    `cd /w/work && git init -q --bare ${id}.git && cd ${id}.git && git index-pack --stdin < ../${id} > /dev/null && git show-index < "$(ls objects/pack/*.idx)" > list && cut -d' ' -f2 list; code=$?; rm -rf /w/work/${id} /w/work/${id}.git; exit $code`
  )
  const oids = out.split('\n').sort()
  expect(oids.filter((oid) => !/^[0-9a-f]{40}$/.test(oid))).toEqual([])
  return oids
}

export function hasPack(answer: Answer): boolean {
  return answer.body.includes('PACK')
}
