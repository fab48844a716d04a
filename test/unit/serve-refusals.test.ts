/** What `serve` does not take over from others: a directory, a socket, a file. */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import path from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { serve } from '../../sidecar/src/commands/serve.ts'
import { takeControl } from '../../sidecar/src/control.ts'
import { scratch } from '../support/git.ts'
import { listen } from '../support/listen.ts'

const work = scratch()
afterAll(work.remove)
const upstream = ['http://forge=http://127.0.0.1:1']

function refusal(data: string, socket: string): Promise<unknown> {
  return serve({ upstream, data: [path.join(work.dir, data)], socket: [socket] }).catch((e) =>
    e.line()
  )
}

test('a file that is no socket stays', async () => {
  const file = path.join(work.dir, 'precious')
  writeFileSync(file, 'precious')
  expect(await refusal('a', file)).toMatch(/--socket \S+ is there, and no socket: .*LISTEN/)
  expect(readFileSync(file, 'utf8')).toBe('precious')
})

test('a socket at which somebody listens stays', async () => {
  const socket = path.join(work.dir, 's.sock')
  const server = createServer((client) => client.destroy()).listen(socket)
  expect(await refusal('b', socket)).toMatch(/--socket \S+ is in use by another sidecar: .*LISTEN/)
  server.close()
})

test('a socket in a directory that is not there', async () => {
  const line = await refusal('c', path.join(work.dir, 'none/s.sock'))
  expect(line).toMatch(/--socket \S+: its directory is not there: make its directory/)
})

test.each([
  ['--admin', 'admin', 'GITCACHE_LISTEN'],
  ['--socket-group', 'socket-group', 'GITCACHE_GROUP'],
])('nothing says that it is there where %s will not do', async (_, option, code) => {
  const taken = createServer()
  const address = `127.0.0.1:${await listen(taken)}`
  const socket = path.join(work.dir, `${option}.sock`)
  const given = option === 'admin' ? address : 'no-such-group'
  const data = [path.join(work.dir, option)]
  const error = await serve({ upstream, data, socket: [socket], [option]: [given] }).catch((e) => e)
  expect(error.line()).toContain(code)
  expect(existsSync(socket)).toBe(false)
  taken.close()
})

test('who is refused leaves the data directory to the next', async () => {
  const data = path.join(work.dir, 'left')
  await refusal('left', path.join(work.dir, 'none/s.sock'))
  expect(existsSync(path.join(data, 'sidecar/lock'))).toBe(false)
  const control = await takeControl(data)
  control.close()
})

test('a data directory that cannot be made', async () => {
  expect(await refusal('../../dev/null/x', path.join(work.dir, 'd.sock'))).toMatch(
    /^nginx-git-cache: --data \S+ cannot be written: /
  )
})

test('without an upstream everything would pass', async () => {
  await expect(serve({})).rejects.toThrow(/--upstream is not given/)
})

test('of those that start at once after a crash, one has the data directory', async () => {
  for (let round = 0; round < 5; round++) {
    const data = path.join(work.dir, `round-${round}`)
    const lock = path.join(data, 'sidecar/lock')
    mkdirSync(path.dirname(lock), { recursive: true })
    // Moved before its server is closed, the socket stays as that of a killed process does.
    const killed = createServer()
    await new Promise<void>((resolve) => killed.listen(`${lock}.old`, resolve))
    renameSync(`${lock}.old`, lock)
    killed.close()
    const all = await Promise.allSettled([1, 2, 3].map(() => takeControl(data)))
    const having = all.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
    for (const control of having) control.close()
    expect(having).toHaveLength(1)
  }
})
