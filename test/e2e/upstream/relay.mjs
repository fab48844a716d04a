/**
 * Apache behind another address, over TLS where a certificate is given; writes a line for each
 * request. Usage: relay.mjs PORT LOG [CERTIFICATE KEY]
 */
import { appendFileSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { toApache } from './to-apache.mjs'

const [port, log, cert, key] = process.argv.slice(2)

function relay(req, res) {
  appendFileSync(log, `${req.method} ${req.url}\n`)
  toApache(req, res)
}

const server =
  cert === undefined
    ? createServer(relay)
    : createTlsServer({ cert: readFileSync(cert), key: readFileSync(key) }, relay)
appendFileSync(log, '')
server.listen(Number(port))
