/**
 * HTTP as no git client speaks it: around a request that is valid in itself, or instead of one. A kind
 * that is sound says the same in other words, so it has to get the same answer.
 */
import { deflateRawSync, gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { anyMutations, mutated } from '../../support/mutations.ts'
import type { Conversation } from './raw.ts'

/** A fetch that gets a pack. */
export interface Valid {
  path: string
  body: Buffer
}

export interface Odd extends Omit<Conversation, 'patience'> {
  kind: string
  /** How many times the valid fetch's answer has to come. */
  sound: number
}

type Words = Partial<Omit<Odd, 'kind'>>

const EOL = '\r\n'
const BOMB = 10 * 1024 * 1024

interface Head {
  line?: string
  headers?: string[]
  eol?: string
  last?: boolean
}

function head({ path }: Valid, { line, headers = [], eol = EOL, last = true }: Head): Buffer {
  const lines = [
    line ?? `POST ${path} HTTP/1.1`,
    'Host: cache',
    'Content-Type: application/x-git-upload-pack-request',
    'Accept: application/x-git-upload-pack-result',
    ...(headers.some((header) => /^git-protocol/i.test(header)) ? [] : ['Git-Protocol: version=2']),
    ...(last ? ['Connection: close'] : []),
    ...headers,
  ]
  return Buffer.from(lines.map((text) => text + eol).join('') + eol, 'latin1')
}

/** A whole request with the length of its body. */
function post(valid: Valid, how: Head = {}, body = valid.body): Buffer {
  const headers = [`Content-Length: ${body.length}`, ...(how.headers ?? [])]
  return Buffer.concat([head(valid, { ...how, headers }), body])
}

function gzipped(valid: Valid, body: Buffer, encoding = 'gzip'): Buffer {
  return post(valid, { headers: [`Content-Encoding: ${encoding}`] }, body)
}

function chunk(bytes: Buffer, extension = ''): Buffer {
  return Buffer.concat([
    Buffer.from(bytes.length.toString(16) + extension + EOL),
    bytes,
    Buffer.from(EOL),
  ])
}

const CHUNKED = ['Transfer-Encoding: chunked']
const LAST_CHUNK = Buffer.from(`0${EOL}${EOL}`)

/** A gzip file whose trailer announces another size than it has. */
function announcing(size: number, content: Buffer): Buffer {
  const file = gzipSync(content)
  file.writeUInt32LE(size, file.length - 4)
  return file
}

const anyEnd = fc.constantFrom<Odd['end']>('wait', 'half', 'destroy')
const anyByte = fc.integer({ min: 0, max: 255 })
const anyText = fc.uint8Array({ maxLength: 60 }).map((list) =>
  Buffer.from(list)
    .toString('latin1')
    .replace(/[\r\n]/g, '.')
)

function cutAt(bytes: Buffer, places: number[]): Buffer[] {
  const sorted = [0, ...places.map((at) => at % bytes.length), bytes.length].sort((a, b) => a - b)
  return sorted.slice(1).map((end, i) => bytes.subarray(sorted[i], end))
}

const one = (bytes: Buffer): Words => ({ pieces: [bytes] })
const sound = (...pieces: Buffer[]): Words => ({ pieces, sound: 1 })

const SOUND: Record<string, (valid: Valid) => fc.Arbitrary<Words>> = {
  'a byte at a time': (v) =>
    fc.constant(sound(...Array.from(post(v), (byte) => Buffer.from([byte])))),
  'cut anywhere': (v) =>
    fc.array(fc.nat(), { maxLength: 9 }).map((at) => sound(...cutAt(post(v), at))),
  'bare LF': (v) => fc.constant(sound(post(v, { eol: '\n' }))),
  'HTTP/1.0': (v) => fc.constant(sound(post(v, { line: `POST ${v.path} HTTP/1.0` }))),
  'absolute target': (v) =>
    fc.constant(sound(post(v, { line: `POST http://cache${v.path} HTTP/1.1` }))),
  pipelined: (v) =>
    fc.integer({ min: 2, max: 6 }).map((n) => ({
      pieces: [Buffer.concat(Array.from({ length: n }, (_, i) => post(v, { last: i === n - 1 })))],
      sound: n,
    })),
  'Expect: 100-continue': (v) =>
    fc.constantFrom(0, 50).map((gap) => {
      const headers = ['Expect: 100-continue', `Content-Length: ${v.body.length}`]
      return { ...sound(head(v, { headers }), v.body), gap }
    }),
  chunked: (v) =>
    fc
      .tuple(fc.array(fc.nat(), { maxLength: 9 }), fc.constantFrom('', ';a=b', ' ;x'))
      .map(([at, extension]) => {
        const parts = cutAt(v.body, at).filter((part) => part.length > 0)
        const chunks = parts.map((part) => chunk(part, extension))
        return sound(head(v, { headers: CHUNKED }), ...chunks, LAST_CHUNK)
      }),
  gzip: (v) =>
    fc.integer({ min: 0, max: 9 }).map((level) => sound(gzipped(v, gzipSync(v.body, { level })))),
  'gzip, chunked': (v) =>
    fc.constant(
      sound(
        head(v, { headers: [...CHUNKED, 'Content-Encoding: gzip'] }),
        chunk(gzipSync(v.body)),
        LAST_CHUNK
      )
    ),
}

const UNSOUND: Record<string, (valid: Valid) => fc.Arbitrary<Words>> = {
  'no body': (v) =>
    fc
      .constantFrom(
        head(v, {}),
        head(v, { headers: ['Content-Length: 0'] }),
        Buffer.concat([head(v, { headers: CHUNKED }), LAST_CHUNK])
      )
      .map(one),
  'Content-Length too small': (v) =>
    fc
      .nat(v.body.length - 1)
      .map((n) => one(Buffer.concat([head(v, { headers: [`Content-Length: ${n}`] }), v.body]))),
  'Content-Length too large': (v) =>
    fc.tuple(fc.integer({ min: 1, max: 2 ** 31 }), anyEnd).map(([more, end]) => ({
      pieces: [head(v, { headers: [`Content-Length: ${v.body.length + more}`] }), v.body],
      end,
    })),
  'Content-Length that is none': (v) =>
    fc
      .constantFrom('', '-1', '+5', '0x10', '1e3', '1 2', '1,1', '99999999999999999999', 'a', '\0')
      .map((text) =>
        one(Buffer.concat([head(v, { headers: [`Content-Length: ${text}`] }), v.body]))
      ),
  'two lengths': (v) =>
    fc
      .constantFrom(v.body.length, 0, 1)
      .map((n) => one(post(v, { headers: [`Content-Length: ${n}`] }))),
  'Content-Length and Transfer-Encoding': (v) =>
    fc.constantFrom(0, 5, v.body.length).map((n) => {
      const headers = [`Content-Length: ${n}`, ...CHUNKED]
      return one(Buffer.concat([head(v, { headers }), chunk(v.body), LAST_CHUNK]))
    }),
  'Transfer-Encoding that is none': (v) =>
    fc
      .constantFrom('gzip', 'chunked, chunked', 'identity', 'xchunked', ' chunked\t', '\x0bchunked')
      .map((name) => {
        const headers = [`Transfer-Encoding: ${name}`]
        return one(Buffer.concat([head(v, { headers }), chunk(v.body), LAST_CHUNK]))
      }),
  'chunk size': (v) =>
    fc
      .constantFrom('', 'g', '-5', '0x5', 'ffffffffffffffff', '7fffffffffffffff', ' 5', '5 5', '\0')
      .map((size) =>
        one(
          Buffer.concat([
            head(v, { headers: CHUNKED }),
            Buffer.from(size + EOL),
            v.body,
            LAST_CHUNK,
          ])
        )
      ),
  'chunk head without end': (v) =>
    fc.tuple(fc.integer({ min: 1000, max: 200_000 }), anyEnd).map(([size, end]) => ({
      pieces: [head(v, { headers: CHUNKED }), Buffer.from(`5;${'x'.repeat(size)}`)],
      end,
    })),
  'chunks that stop': (v) =>
    anyEnd.map((end) => ({ pieces: [head(v, { headers: CHUNKED }), chunk(v.body)], end })),
  'cut in the head': (v) =>
    fc.tuple(fc.nat(), anyEnd).map(([at, end]) => {
      const bytes = head(v, { headers: ['Content-Length: 5'] })
      return { pieces: [bytes.subarray(0, at % bytes.length)], end }
    }),
  'cut in the body': (v) =>
    fc.tuple(fc.nat(v.body.length - 1), anyEnd).map(([left, end]) => {
      const bytes = post(v)
      return { pieces: [bytes.subarray(0, bytes.length - 1 - left)], end }
    }),
  'gone before the answer': (v) => fc.constant({ pieces: [post(v)], end: 'destroy' }),
  'bytes in the head': (v) =>
    fc.tuple(fc.nat(), anyByte).map(([at, byte]) => {
      const bytes = post(v)
      bytes[at % (bytes.length - v.body.length)] = byte
      return one(bytes)
    }),
  'NUL in the head': (v) =>
    fc
      .constantFrom('X-A: a\0b', 'X\0A: b', '\0', 'Git-Protocol: version=2\0', 'Host: a\0')
      .map((header) => one(post(v, { headers: [header] }))),
  'large header': (v) =>
    fc
      .integer({ min: 8000, max: 100_000 })
      .map((size) => one(post(v, { headers: [`X-Large: ${'x'.repeat(size)}`] }))),
  'many headers': (v) =>
    fc.integer({ min: 100, max: 3000 }).map((count) => {
      const headers = Array.from({ length: count }, (_, i) => `X-${i}: ${i}`)
      return one(post(v, { headers }))
    }),
  'header values': (v) =>
    fc
      .tuple(
        fc.constantFrom(
          ...['Git-Protocol', 'Authorization', 'Content-Type', 'Content-Encoding', 'Range', 'TE'],
          ...['Cookie', 'X-Accel-Redirect', 'X-Test', 'Expect', 'Upgrade', 'Proxy-Connection']
        ),
        anyText
      )
      .map(([name, value]) => one(post(v, { headers: [`${name}: ${value}`] }))),
  'doubled headers': (v) =>
    fc
      .constantFrom(
        ...['Git-Protocol: version=1', 'Content-Type: text/plain', 'Content-Encoding: gzip'],
        ...['Authorization: Basic x', 'Host: other', 'Connection: keep-alive', 'Range: bytes=0-1']
      )
      .map((header) => one(post(v, { headers: [header, header] }))),
  'HTTP/0.9': (v) =>
    fc.constantFrom('GET', 'POST').map((method) => one(Buffer.from(`${method} ${v.path}${EOL}`))),
  version: (v) =>
    fc
      .constantFrom('HTTP/9.9', 'HTTP/1.', 'HTTP/', 'http/1.1', 'HTTP/1.1 x', 'GIT/1.1', '')
      .map((version) => one(post(v, { line: `POST ${v.path} ${version}` }))),
  'HTTP/2': (v) =>
    fc
      .uint8Array({ maxLength: 60 })
      .map((bytes) =>
        one(Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), bytes, post(v)]))
      ),
  'another protocol': () =>
    fc.uint8Array({ minLength: 1, maxLength: 400 }).map((bytes) => one(Buffer.from(bytes))),
  method: (v) =>
    fc
      .constantFrom(
        ...['GET', 'HEAD', 'PUT', 'OPTIONS', 'TRACE', 'CONNECT', 'DELETE', 'PROPFIND', 'post'],
        ...['POSTPOST', 'P0ST', 'PO ST', '\tPOST', 'P'.repeat(10_000), 'G_T', 'PRI', '']
      )
      .map((method) => one(post(v, { line: `${method} ${v.path} HTTP/1.1` }))),
  target: (v) =>
    fc
      .constantFrom(
        ...['%0a', '%00', '%0d%0a', '%', '%zz', '%2f', '/', '?', '?x=%00', '#x', ';x', '\\', '%ff'],
        ...[' x', '\x7f', '\xff', `?${'x'.repeat(20_000)}`, '/../../..', '%2e%2e/', '/%2e%2e/x']
      )
      .map((tail) => one(post(v, { line: `POST ${v.path}${tail} HTTP/1.1` }))),
  'internal target': (v) =>
    fc
      .tuple(
        fc.constantFrom(
          'main',
          'probe',
          'tags',
          'refs',
          'gunzip',
          'prepare',
          'read',
          'hit',
          'pass'
        ),
        fc.constantFrom('', '%0a', '/', '?x')
      )
      .map(([name, tail]) => {
        const internal = v.path.replace(/\/git-upload-pack$/, `/_gitcache/${name}/git-upload-pack`)
        return one(post(v, { line: `POST ${internal}${tail} HTTP/1.1` }))
      }),
  'no target': (v) =>
    fc
      .constantFrom('*', '', 'x', '..', '/../git-upload-pack', '//', 'http://', 'cache:80', '/\0')
      .map((target) => one(post(v, { line: `POST ${target} HTTP/1.1` }))),
  'damaged gzip': (v) =>
    anyMutations.map((mutations) => one(gzipped(v, mutated(gzipSync(v.body), mutations)))),
  'gzip bomb': (v) =>
    fc
      .constantFrom(BOMB, 0, 100, 256 * 1024, 0xffffffff)
      .map((size) => one(gzipped(v, announcing(size, Buffer.alloc(BOMB))))),
  'gzip and more': (v) =>
    fc
      .constantFrom(gzipSync(v.body), Buffer.from('more'), Buffer.alloc(20))
      .map((more) => one(gzipped(v, Buffer.concat([gzipSync(v.body), more])))),
  'gzip of nothing': (v) =>
    fc
      .constantFrom(Buffer.alloc(0), gzipSync(''), Buffer.from([0x1f, 0x8b, 8]), v.body)
      .map((body) => one(gzipped(v, body))),
  'other encodings': (v) =>
    fc
      .constantFrom('deflate', 'br', 'gzip, gzip', 'GZIP', 'x-gzip', 'identity', ',', 'gzip;q=0')
      .map((name) => one(gzipped(v, name === 'deflate' ? deflateRawSync(v.body) : v.body, name))),
  'large body': (v) =>
    fc
      .tuple(fc.integer({ min: 250_000, max: 1_300_000 }), anyByte, anyEnd)
      .map(([size, byte, end]) => ({
        pieces: [post(v, {}, Buffer.concat([v.body, Buffer.alloc(size, byte)]))],
        end,
      })),
}

const KINDS = Object.entries({ ...SOUND, ...UNSOUND })

/** So many conversations, all kinds alike often. */
export function oddConversations(valid: Valid, count: number, seed: number): Odd[] {
  const each = Math.ceil(count / KINDS.length)
  const samples = KINDS.map(([kind, make]) =>
    fc
      .sample(make(valid), { numRuns: each, seed })
      .map((words): Odd => ({ kind, pieces: [], end: 'wait', sound: 0, ...words }))
  )
  return Array.from({ length: count }, (_, i) => {
    const sample = samples[i % KINDS.length] as Odd[]
    return sample[Math.floor(i / KINDS.length)] as Odd
  })
}
