/** A git that hangs is ended by its silence, whatever upstream does; one that is slow is not. */
import { createServer, type RequestListener } from 'node:http'
import path from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { runGit } from '../../sidecar/src/git.ts'
import { fetchRefs, initMirror } from '../../sidecar/src/mirror.ts'
import { scratch } from '../support/git.ts'
import { listen } from '../support/listen.ts'

const work = scratch()
afterAll(work.remove)

/** How a fetch from such a server ends, and after how many milliseconds. */
async function fetchFrom(listener: RequestListener, stallAfter: number) {
  const server = createServer(listener)
  const port = await listen(server)
  const dir = path.join(work.dir, `mirror-${port}`)
  await initMirror('sha1', dir)
  const begun = Date.now()
  const source = { url: `http://127.0.0.1:${port}/a`, env: {}, beginWithin: stallAfter, stallAfter }
  const { outcome } = await fetchRefs(dir, source)
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

/** What git runs for us says `x` so many times, a fifth of a second apart. */
const saying = (times: number, then = '') =>
  runGit(
    ['-c', `alias.say=!for i in $(seq ${times}); do echo x; sleep 0.2; done; ${then}`, 'say'],
    {
      stallAfter: 600,
    }
  )

test('one that is slow, and not silent for longer than allowed', async () => {
  expect(await saying(8)).toMatchObject({ code: 0, stdout: 'x\n'.repeat(8) })
})

test('one that falls silent', async () => {
  expect(await saying(2, 'sleep 30')).toMatchObject({ code: -1, silent: false })
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
