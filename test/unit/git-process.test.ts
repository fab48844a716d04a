/** A git that hangs is ended by its silence, whatever upstream does; one that is slow is not. */
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { runGit } from '../../sidecar/src/git.ts'
import { fetchRefs, initMirror } from '../../sidecar/src/mirror.ts'
import { scratch } from '../support/git.ts'

const work = scratch()
afterAll(work.remove)

/** How a fetch from such a server ends, and after how many milliseconds. */
async function fetchFrom(listener: RequestListener, stallAfter: number) {
  const server = createServer(listener).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as AddressInfo
  const dir = path.join(work.dir, `mirror-${port}`)
  await initMirror('sha1', dir)
  const begun = Date.now()
  const source = { url: `http://127.0.0.1:${port}/a`, env: {}, beginWithin: stallAfter, stallAfter }
  const outcome = await fetchRefs(dir, source)
  server.closeAllConnections()
  server.close()
  return { outcome, after: Date.now() - begun }
}

test('an upstream that never answers', async () => {
  const { outcome, after } = await fetchFrom(() => {}, 700)
  expect(outcome).toBe('silent')
  expect(after).toBeGreaterThan(600)
  expect(after).toBeLessThan(20_000)
})

/** An empty repository, said a byte at a time; a pack would show progress meanwhile. */
test('an upstream that is slow and not silent for longer than allowed', async () => {
  const body = '001e# service=git-upload-pack\n0000000eversion 2\n000cls-refs\n000afetch\n0000'
  const { outcome } = await fetchFrom((request, response) => {
    if (request.method === 'POST') {
      response.setHeader('content-type', 'application/x-git-upload-pack-result')
      response.end('0000')
      return
    }
    response.setHeader('content-type', 'application/x-git-upload-pack-advertisement')
    const bytes = [...body]
    const timer = setInterval(() => {
      response.write(bytes.splice(0, 8).join(''))
      if (bytes.length > 0) return
      clearInterval(timer)
      response.end()
    }, 100)
  }, 5000)
  expect(outcome).toBe('ok')
})

test.each([
  { status: 0, words: 'remote: Out of memory', code: 0 },
  { status: 128, words: 'fatal: Out of memory, malloc failed', code: -1 },
  { status: 128, words: 'error: cannot fork() for fetch-pack: Resource unavailable', code: -1 },
  { status: 128, words: 'fatal: bad object HEAD', code: 128 },
])('status $status with "$words" is $code', async ({ status, words, code }) => {
  const alias = `alias.end=!echo '${words}' >&2; exit ${status};`
  expect(await runGit(['-c', alias, 'end'])).toMatchObject({ code })
})

/** sched(7): what one session has of the processors does not depend on what runs in the others. */
test('what is idle says so for its session as well', async () => {
  const alias = 'alias.group=!sleep 1; cat /proc/self/autogroup'
  const groupOf = async (idle: boolean) => (await runGit(['-c', alias, 'group'], { idle })).stdout
  // Empty where the kernel has no autogroups, or they are off.
  const group = (await groupOf(false)).replace(/-\d+/, '')
  expect(group).toMatch(/^(\/autogroup nice 0\n)?$/)
  expect((await groupOf(true)).replace(/-\d+/, '')).toBe(group.replace('nice 0', 'nice 19'))
})
