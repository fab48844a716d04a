/** Gives a request to Apache as it is, and its answer back. */
import { request } from 'node:http'

export function toApache(req, res) {
  const { method, url, headers } = req
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
