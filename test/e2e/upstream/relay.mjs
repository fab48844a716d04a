/**
 * Apache behind another address, over TLS where a certificate is given; writes a line for each
 * request. Usage: relay.mjs PORT LOG [CERTIFICATE KEY]
 */
import { appendFileSync, readFileSync } from 'node:fs'
import { createServer, request } from 'node:http'
import { createServer as createTlsServer } from 'node:https'

const [port, log, cert, key] = process.argv.slice(2)

function relay(req, res) {
  const { method, url, headers } = req
  appendFileSync(log, `${method} ${url}\n`)
  // A connection of its own: Apache closes kept ones when it has no worker left.
  const to = { port: 80, method, path: url, headers, agent: false }
  const onwards = request(to, (answer) => {
    const { connection: _, ...rest } = answer.headers
    res.writeHead(answer.statusCode, rest)
    answer.pipe(res)
  })
  onwards.on('error', () => res.destroy())
  req.pipe(onwards)
}

const server =
  cert === undefined
    ? createServer(relay)
    : createTlsServer({ cert: readFileSync(cert), key: readFileSync(key) }, relay)
appendFileSync(log, '')
server.listen(Number(port))
