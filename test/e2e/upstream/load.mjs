/**
 * Mixed fetches over so many connections for so many seconds; prints how many of each result.
 * Usage: load.mjs URL CONNECTIONS SECONDS FILE, where FILE has a line `repository oid` for each
 * repository that may be asked for.
 */
import { readFileSync } from 'node:fs'
import { Agent, request } from 'node:http'

const [url, connections, seconds, file] = process.argv.slice(2)
const repositories = readFileSync(file, 'utf8').trim().split('\n')
const agent = new Agent({ keepAlive: true, maxSockets: Number(connections) })
const until = Date.now() + Number(seconds) * 1000
const counts = {}

function pkt(line) {
  return `${(line.length + 5).toString(16).padStart(4, '0')}${line}\n`
}

/** Mostly what others have asked for, now and then what nobody has, and what is not there. */
function next(i) {
  const [name, oid] = repositories[(i * 7919) % repositories.length].split(' ')
  const depth = i % 10 === 0 ? 1 + (i % 5000) : 1 + (i % 3)
  const want = i % 50 === 0 ? oid.replace(/^./, (c) => (c === '0' ? '1' : '0')) : oid
  const path = i % 40 === 0 ? `/pub/none-${i}.git` : `/pub/${name}`
  const lines = [pkt('no-progress'), pkt(`want ${want}`), pkt(`deepen ${depth}`), pkt('done')]
  return { path, body: `${pkt('command=fetch')}0001${lines.join('')}0000` }
}

function ask({ path, body }) {
  return new Promise((resolve) => {
    const headers = {
      'content-type': 'application/x-git-upload-pack-request',
      'git-protocol': 'version=2',
      'content-length': body.length,
    }
    const asked = request(`${url}${path}/git-upload-pack`, { method: 'POST', agent, headers })
    asked.on('response', (response) => {
      response.resume()
      response.on('close', () => {
        const cut = response.complete ? '' : 'cut '
        resolve(`${cut}${response.headers['x-git-cache'] ?? response.statusCode}`)
      })
    })
    asked.on('error', (error) => resolve(error.code))
    asked.end(body)
  })
}

let serial = 0
async function client() {
  while (Date.now() < until) {
    serial += 1
    const result = await ask(next(serial))
    counts[result] = (counts[result] ?? 0) + 1
  }
}

await Promise.all(Array.from({ length: Number(connections) }, client))
console.log(JSON.stringify(counts))
agent.destroy()
