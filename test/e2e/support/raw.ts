/** Bytes to a server and back over a bare TCP connection: what no HTTP client would send, or not so. */
import { once } from 'node:events'
import net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { docker } from './docker.ts'

export interface Address {
  host: string
  port: number
}

/** A container's own address: this machine is on its network. */
export async function addressOf(container: string, port: number): Promise<Address> {
  const format = '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}'
  const [host] = (await docker(['inspect', '-f', format, container])).split(' ')
  if (!host) throw new Error(`no address of ${container}`)
  return { host, port }
}

export interface Conversation {
  pieces: Buffer[]
  /** Milliseconds between two pieces. */
  gap?: number
  /** After the last piece: wait for the other side, say that no more comes, or be gone. */
  end: 'wait' | 'half' | 'destroy'
  /** Milliseconds without a byte until the connection is given up. */
  patience: number
}

export interface Heard {
  bytes: Buffer
  /** Whether the other side ended the connection. */
  closed: boolean
  /** Our own address: the client of the server's logs. */
  from: string
}

export async function converse(address: Address, said: Conversation): Promise<Heard> {
  const socket = net.connect(address)
  const heard: Buffer[] = []
  let closed = false
  let broken = false
  socket.on('data', (bytes) => heard.push(bytes))
  socket.on('error', () => {
    // A server may be gone in the middle of our words: what it said before that counts.
    broken = true
  })
  socket.on('end', () => {
    closed = true
  })
  const over = once(socket, 'close').catch(() => undefined)
  await Promise.race([once(socket, 'connect').catch(() => undefined), over])
  if (broken) throw new Error(`no connection to ${address.host}:${address.port}`)
  const from = socket.localAddress ?? ''
  socket.setNoDelay(true)
  socket.setTimeout(said.patience, () => socket.destroy())
  for (const piece of said.pieces) {
    if (socket.destroyed || broken) break
    socket.write(piece)
    if (said.pieces.length > 1) await sleep(said.gap ?? 0)
  }
  if (said.end === 'destroy') socket.destroy()
  if (said.end === 'half') socket.end()
  await over
  return { bytes: Buffer.concat(heard), closed: closed || broken, from }
}

export interface Response {
  status: number
  /** Lower-case names. */
  headers: Record<string, string>
  body: Buffer
  /** Whether its end came. */
  whole: boolean
}

/** The final answers in what a server said, one after the other; null where it did not speak HTTP/1. */
export function responsesIn({ bytes, closed }: Heard): Response[] | null {
  const found: Response[] = []
  let rest = bytes
  while (rest.length > 0) {
    const end = rest.indexOf('\r\n\r\n')
    const head = rest.toString('latin1', 0, end < 0 ? rest.length : end)
    const status = Number(/^HTTP\/1\.[01] ([1-5]\d\d)[ \r]/.exec(`${head}\r`)?.[1] ?? 0)
    if (status === 0 || end < 0) return null
    const headers = headersIn(head)
    const { body, used, whole } = bodyOf(rest.subarray(end + 4), status, headers, closed)
    if (status >= 200) found.push({ status, headers, body, whole })
    rest = whole ? rest.subarray(end + 4 + used) : Buffer.alloc(0)
  }
  return found
}

function headersIn(head: string): Record<string, string> {
  const pairs = head
    .split('\r\n')
    .slice(1)
    .map((line) => /^([^:]+):\s*(.*)$/.exec(line)?.slice(1) ?? [])
  return Object.fromEntries(pairs.map(([name = '', value = '']) => [name.toLowerCase(), value]))
}

interface Body {
  body: Buffer
  used: number
  whole: boolean
}

function bodyOf(
  bytes: Buffer,
  status: number,
  headers: Record<string, string>,
  closed: boolean
): Body {
  if (status < 200 || status === 204 || status === 304) {
    return { body: Buffer.alloc(0), used: 0, whole: true }
  }
  if (/chunked/i.test(headers['transfer-encoding'] ?? '')) return chunksIn(bytes)
  const length = headers['content-length']
  if (length === undefined) return { body: bytes, used: bytes.length, whole: closed }
  const body = bytes.subarray(0, Number(length))
  return { body, used: body.length, whole: body.length === Number(length) }
}

function chunksIn(bytes: Buffer): Body {
  const chunks: Buffer[] = []
  let at = 0
  for (;;) {
    const line = bytes.indexOf('\r\n', at)
    const size = line < 0 ? Number.NaN : Number.parseInt(bytes.toString('latin1', at, line), 16)
    const next = line + 2 + size + 2
    if (Number.isNaN(size) || next > bytes.length) {
      return { body: Buffer.concat(chunks), used: bytes.length, whole: false }
    }
    if (size === 0) return { body: Buffer.concat(chunks), used: next, whole: true }
    chunks.push(bytes.subarray(line + 2, line + 2 + size))
    at = next
  }
}
