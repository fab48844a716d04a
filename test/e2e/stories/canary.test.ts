/**
 * Credentials pass through and stay nowhere: not in an argument list, not in a file, not in a log.
 */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { cacheOf, makeRepository, onUpstream, warmUp } from '../support/repositories.ts'
import { client, must, results, sh, stack, uniqueId } from '../support/servers.ts'
import { onEachNginx } from '../support/versions.ts'

const POST = 'git-upload-pack.refused'
const SECRET = `canary${Date.now().toString(36)}sings`
const BASIC = Buffer.from(`canary:${SECRET}`).toString('base64')
const HEADERS = [
  { name: 'Basic', header: `Authorization: Basic ${BASIC}` },
  { name: 'Bearer', header: `Authorization: Bearer ${SECRET}` },
  { name: 'a cookie', header: `Cookie: session=${SECRET}` },
  { name: 'a custom header', header: `X-Custom-Token: ${SECRET}` },
]

/** Every spelling in which it might lie about; base64 also of what begins in mid-group. */
const SPELLINGS = [
  SECRET,
  BASIC,
  ...[0, 1, 2].map((shift) =>
    Buffer.from('x'.repeat(shift) + SECRET)
      .toString('base64')
      .slice(shift === 0 ? 0 : 4, -4)
  ),
  Buffer.from(SECRET).toString('hex'),
]

const CONTROL = 'canary-control'

/** As fast as a shell can, until the file is gone. An argument a line: the last grep takes lines away. */
const WATCH = (file: string) =>
  `touch ${file}; while [ -e ${file} ]; do cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n'; ps -eo args; done | LC_ALL=C grep -aF -f ${file}.spellings | grep -v 'grep -aF' | sort -u | head -20`

onEachNginx((suite) => {
  const watched = [stack().sidecar[suite] as string, stack().nginx[suite] as string]
  const flag = `/tmp/${uniqueId('watch')}`
  let watching: Promise<{ out: string }[]>

  beforeAll(async () => {
    const spellings = Buffer.from([...SPELLINGS, CONTROL].join('\n')).toString('base64')
    for (const container of watched)
      await must(container, `echo ${spellings} | base64 -d > ${flag}.spellings; touch ${flag}`)
    watching = Promise.all(watched.map((container) => sh(container, WATCH(flag))))
  })

  afterAll(async () => {
    for (const container of watched) await must(container, `rm -f ${flag} ${flag}.spellings`)
  })

  /** Git gets the secret from its environment: its own arguments must not show it. */
  async function clone(header: string, path: string) {
    const id = uniqueId('canary')
    const dir = `/w/work/${id}`
    const env = {
      GIT_TERMINAL_PROMPT: '0',
      GIT_CONFIG_COUNT: '2',
      GIT_CONFIG_KEY_0: 'http.extraHeader',
      GIT_CONFIG_VALUE_0: header,
      GIT_CONFIG_KEY_1: 'http.extraHeader',
      GIT_CONFIG_VALUE_1: `X-Test: ${id}`,
    }
    const script = `git clone -q --bare ${cacheOf(suite)}${path} ${dir}; code=$?; rm -rf ${dir}; exit $code`
    const ran = await sh(client('trixie' in stack().nginx ? 'trixie' : suite), script, env)
    return { code: ran.code, how: results(suite, id).join() }
  }

  test.each(HEADERS)('sent as $name: cold, miss, hit, and refused', async ({ header }) => {
    const repository = await makeRepository('canary', 'commit main one; commit main two')
    const path = `/pub/${repository}`
    expect(await clone(header, path)).toEqual({ code: 0, how: 'miss' })
    await warmUp(suite, path)
    await onUpstream(repository, 'commit main three')
    expect(await clone(header, path)).toEqual({
      code: 0,
      how: expect.stringMatching(/^(miss|join)$/),
    })
    expect(await clone(header, path)).toEqual({ code: 0, how: 'hit' })
    await onUpstream(repository, `commit main four; touch ${POST}`)
    expect((await clone(header, path)).code).toBe(128)
    await onUpstream(repository, `rm ${POST}; mkdir info; touch info/refs.refused`)
    expect((await clone(header, path)).code).toBe(128)
    for (const fault of [500, 'cut', 'html']) await clone(header, `/fault/${fault}/x.git`)
  })

  test('no process was seen with it', async () => {
    // So that a watch that sees nothing cannot pass.
    for (const container of watched) await must(container, `sh -c 'sleep 1; :' ${CONTROL}`)
    for (const container of watched) await must(container, `rm ${flag}`)
    for (const { out } of await watching) {
      expect(out).toContain(CONTROL)
      expect(SPELLINGS.filter((spelling) => out.includes(spelling))).toEqual([])
    }
  })

  test('no process may leave a core file', async () => {
    const [sidecar] = watched
    const limits = await must(
      sidecar as string,
      "for p in $(pgrep -f 'nginx-git-cache(.mjs)? serve'); do grep 'Max core file size' /proc/$p/limits; done"
    )
    expect(limits.split('\n').length).toBeGreaterThan(1)
    for (const line of limits.split('\n')) expect(line).toMatch(/size +0 +0 /)
  })

  test('no file has it', async () => {
    const planted = `/tmp/${uniqueId('planted')}`
    const places = `/w/data/${suite} /w/log /var/lib/nginx /var/log /run /tmp`
    for (const container of watched) {
      await must(container, `echo ${CONTROL} > ${planted}`)
      const found = await sh(
        container,
        `LC_ALL=C grep -raF -l ${[...SPELLINGS, CONTROL].map((spelling) => `-e ${spelling}`).join(' ')} ${places} --exclude='*.spellings' -D skip 2> /dev/null`
      )
      expect(found.out).toBe(planted)
      await must(container, `rm ${planted}`)
    }
  })

  test('no container has said it', async () => {
    for (const container of watched) {
      const { stdout, stderr } = await promisify(execFile)('docker', ['logs', container], {
        maxBuffer: 2 ** 28,
      })
      const said = stdout + stderr
      expect(SPELLINGS.filter((spelling) => said.includes(spelling))).toEqual([])
      if (container === stack().sidecar[suite]) expect(said).toContain('"msg":"ready"')
    }
  })
})
