/** An upstream that misbehaves on demand: the first path segment after /fault/ says how. */
import { appendFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { toApache } from './to-apache.mjs'

const HTML = '<html>please log in</html>\n'.repeat(600)

const FAULTS = {
  301: (_, res) => res.writeHead(301, { location: '/fault/elsewhere/x.git/git-upload-pack' }).end(),
  302: (_, res) => res.writeHead(302, { location: 'https://login.example.org/' }).end(),
  307: (_, res) => res.writeHead(307, { location: 'http://faults/fault/elsewhere/' }).end(),
  403: (_, res) => res.writeHead(403).end('forbidden\n'),
  404: (_, res) => res.writeHead(404).end('not found\n'),
  429: (_, res) =>
    res
      .writeHead(429, {
        'retry-after': '7',
        'content-type': 'text/plain; charset=utf-8',
        'content-length': 10,
        'x-limit': 'a',
      })
      .end('slow down\n'),
  500: (_, res) => res.writeHead(500).end('oops\n'),
  503: (_, res) => res.writeHead(503).end('later\n'),
  empty: (_, res) => res.writeHead(200).end(),
  html: (_, res) => {
    res.writeHead(200, { 'content-type': 'text/html' })
    for (let sent = 0; sent < 5e6; sent += HTML.length) res.write(HTML)
    res.end()
  },
  length: (_, res) => {
    const body = HTML.repeat(300)
    res.writeHead(200, { 'content-type': 'text/html', 'content-length': body.length }).end(body)
  },
  endless: (_, res) => {
    res.writeHead(200, { 'content-type': 'text/html' })
    const more = () => {
      while (!res.destroyed && res.write(HTML));
    }
    res.on('drain', more)
    more()
  },
  cut: (_, res) => {
    res.writeHead(200, { 'content-type': 'application/x-git-upload-pack-result' })
    res.write('0014acknowl')
    setTimeout(() => res.destroy(), 50)
  },
  hang: () => {},
  gzip: (_, res) => {
    res.writeHead(200, { 'content-encoding': 'gzip' })
    res.end(Buffer.from(`1f8b0800000000000003${'ff'.repeat(40)}`, 'hex'))
  },
  accel: (req, res) => {
    const base = req.url.replace(/\/git-upload-pack$/, '')
    res
      .writeHead(200, { 'x-accel-redirect': `${base}/_gitcache/hit/git-upload-pack` })
      .end('own words\n')
  },
}

createServer((req, res) => {
  appendFileSync('/w/log/faults.log', `${req.url}\n`)
  const fault = FAULTS[req.url.split('/')[2]]
  req.resume().on('end', () => (fault ? fault(req, res) : res.writeHead(404).end()))
}).listen(81)

/** Writes down what arrives, head and body, and gives it back with headers of its own. */
createServer((req, res) => {
  const chunks = []
  req.on('data', (chunk) => chunks.push(chunk))
  req.on('end', () => {
    const seen = {
      method: req.method,
      url: req.url,
      headers: req.rawHeaders,
      body: Buffer.concat(chunks).toString('base64'),
    }
    res.writeHead(203, { 'x-from-upstream': 'yes', 'set-cookie': 'a=b' })
    res.end(JSON.stringify(seen))
  })
}).listen(82)

/** Apache, but of each connection only the first request is answered: the second closes it. */
appendFileSync('/w/log/closed.log', '')
const used = new WeakSet()
createServer((req, res) => {
  if (used.has(req.socket)) {
    appendFileSync('/w/log/closed.log', `${req.method} ${req.url}\n`)
    req.socket.destroy()
    return
  }
  used.add(req.socket)
  toApache(req, res)
}).listen(83)
