/**
 * The embedded upstream of a first run: `git http-backend` behind a small web server on loopback.
 * Sources: git-http-backend(1), RFC 3875 (CGI). For showing and trying, not for serving people.
 */
import { appendFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { spawnHttpBackend } from '../git.ts'

export interface SampleOptions {
  /** Directory of bare repositories. */
  root: string
  /** A line for each request: method, path, status, bytes. */
  logFile: string
  /** Repositories below this path need these credentials. */
  protectedPath: string
  user: string
  password: string
}

export function createSampleUpstream(options: SampleOptions): Server {
  return createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://sample')
    // Its repositories have plain names: what is encoded could be another to git than to us.
    if (url.pathname.includes('%')) {
      response.writeHead(404).end()
      return
    }
    let bytes = 0
    response.once('close', () => {
      const line = `${request.method} ${url.pathname}${url.search} ${response.statusCode} ${bytes}\n`
      try {
        appendFileSync(options.logFile, line)
      } catch {
        // A log that cannot be written stops nobody.
      }
    })
    if (url.pathname.startsWith(options.protectedPath) && !isAuthorised(request, options)) {
      response.writeHead(401, { 'www-authenticate': 'Basic realm="sample"' }).end()
      return
    }
    runBackend(request, response, url, options, (n) => {
      bytes += n
    })
  })
}

function isAuthorised(request: IncomingMessage, options: SampleOptions): boolean {
  const expected = Buffer.from(`${options.user}:${options.password}`).toString('base64')
  return request.headers.authorization === `Basic ${expected}`
}

function runBackend(
  request: IncomingMessage,
  response: ServerResponse,
  url: URL,
  options: SampleOptions,
  count: (bytes: number) => void
): void {
  const header = (name: string) => String(request.headers[name] ?? '')
  const git = spawnHttpBackend({
    GIT_PROJECT_ROOT: options.root,
    GIT_HTTP_EXPORT_ALL: '1',
    PATH_INFO: url.pathname,
    QUERY_STRING: url.search.slice(1),
    REQUEST_METHOD: request.method ?? 'GET',
    CONTENT_TYPE: header('content-type'),
    CONTENT_LENGTH: header('content-length'),
    HTTP_CONTENT_ENCODING: header('content-encoding'),
    GIT_PROTOCOL: header('git-protocol'),
    REMOTE_USER: url.pathname.startsWith(options.protectedPath) ? options.user : '',
    REMOTE_ADDR: '127.0.0.1',
  })
  request.pipe(git.stdin)
  response.once('close', git.kill)
  let head = Buffer.alloc(0)
  git.stdout.on('data', (chunk: Buffer) => {
    if (response.headersSent) {
      count(chunk.length)
      if (!response.write(chunk)) git.stdout.pause()
      return
    }
    head = Buffer.concat([head, chunk])
    const end = head.indexOf('\r\n\r\n')
    if (end < 0) return
    writeHead(response, head.toString('latin1', 0, end))
    response.flushHeaders()
    const rest = head.subarray(end + 4)
    count(rest.length)
    if (rest.length > 0) response.write(rest)
  })
  response.on('drain', () => git.stdout.resume())
  git.stdout.once('end', () => {
    if (!response.headersSent) response.writeHead(500)
    response.end()
  })
}

/** CGI's header: `Status: 404 Not Found` is the status line, the rest are headers. */
function writeHead(response: ServerResponse, head: string): void {
  for (const line of head.split('\r\n')) {
    const colon = line.indexOf(':')
    const name = line.slice(0, colon)
    const value = line.slice(colon + 1).trim()
    if (name.toLowerCase() === 'status') response.statusCode = Number.parseInt(value, 10)
    else response.setHeader(name, value)
  }
}
