/**
 * The disk is full, at any byte, or out of inodes, or cannot be written: no git operation fails or
 * gets something else, the log has a line and not thousands, and when there is room again, answers
 * are stored again.
 */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Pair, startPair } from '../support/pair.ts'
import { cloneState, copyOf, DIRECT } from '../support/repositories.ts'
import { logs, must, stack, uniqueId } from '../support/servers.ts'
import { onOneNginx } from '../support/versions.ts'

/** What is left free when the work begins. An answer is 3 MB, its mirror the same again. */
const ROOM = [0, 4096, 100_000, 1_000_000, 2_900_000, 3_100_000, 4_500_000, 6_100_000, 9_000_000]
const BIG =
  'head -c 3000000 /dev/urandom | git hash-object -w --stdin > big; git update-ref refs/tags/big $(cat big)'

onOneNginx((suite) => {
  const sidecar = stack().sidecar[suite] as string
  const name = uniqueId('full')
  const data = `/small/${name}`
  const filler = `/small/${name}.filler`
  let pair: Pair

  beforeAll(async () => {
    pair = await startPair({ name, suite, data, args: ['--cache-size', '1g'] })
  })
  afterAll(async () => {
    await pair.stop()
    await must(sidecar, `chmod -R u+w ${data}; rm -rf /small/${name}*`)
  })

  const free = () => must(sidecar, `rm -rf ${filler}`)
  /** Fills the disk up, but for so many bytes. */
  const fill = (room: number) =>
    must(
      sidecar,
      `rm -rf ${filler}; left=$(($(stat -f -c '%a * %S' /small) - ${room})); [ $left -le 0 ] || head -c $left /dev/zero > ${filler}`
    )
  const empty = async () => {
    await free()
    await must(sidecar, `rm -rf ${data}/packs/* ${data}/tmp/*`)
  }

  const run = (origin: string, repository: string, options: string) =>
    cloneState(suite, origin, repository, options, pair.log)

  async function sameAsDirect(repository: string, options: string): Promise<string> {
    const direct = await run(DIRECT, repository, options)
    const cached = await run(pair.url, repository, options)
    expect([cached.code, cached.out], `${cached.how} ${logs()}`).toEqual([0, direct.out])
    return cached.how
  }

  async function untilHit(repository: string): Promise<void> {
    for (let i = 0; i < 40; i++) {
      if ((await sameAsDirect(repository, '--mirror')) === 'hit') return
      await new Promise((resolve) => setTimeout(resolve, 250))
    }
    throw new Error(`${repository} is not stored again`)
  }

  const storeFaults = () => pair.logged().filter(({ code }) => code === 'GITCACHE_STORE').length

  test.each(ROOM)('%i bytes are left: cold, again, and by a mirror', async (room) => {
    const repository = await copyOf('small', BIG)
    await fill(room)
    for (const options of ['--mirror', '--mirror', '--depth 1 --mirror']) {
      expect(await sameAsDirect(repository, options)).not.toBe('')
    }
    await empty()
    await untilHit(repository)
    // Now with a mirror: git makes the answer, and there is no room for it.
    await must(sidecar, `rm -rf ${data}/packs/*`)
    await fill(room)
    for (const options of ['--mirror', '--depth 1 --mirror', '--mirror']) {
      expect(await sameAsDirect(repository, options)).not.toBe('')
    }
    await empty()
    await untilHit(repository)
    await must(sidecar, `rm -rf ${data}/packs/* ${data}/mirrors/*`)
  })

  test('no inodes are left', async () => {
    const repository = await copyOf('small', BIG)
    await must(
      sidecar,
      `mkdir ${filler}; i=0; while ( : > ${filler}/$i ) 2> /dev/null; do i=$((i + 1)); done; [ $i -gt 10 ]`
    )
    for (const options of ['--mirror', '--depth 1 --mirror', '--mirror']) {
      expect(await sameAsDirect(repository, options)).not.toBe('')
    }
    await empty()
    await untilHit(repository)
  })

  test('nothing may be written', async () => {
    const repository = await copyOf('small', BIG)
    await must(sidecar, `chmod 0555 ${data}/tmp ${data}/packs ${data}/mirrors`)
    for (const options of ['--mirror', '--depth 1 --mirror', '--mirror']) {
      expect(await sameAsDirect(repository, options)).not.toBe('')
    }
    await must(sidecar, `chmod 0750 ${data}/tmp ${data}/packs ${data}/mirrors`)
    await untilHit(repository)
  })

  test('the log said so, and not once for each request', async () => {
    expect(storeFaults()).toBeGreaterThan(0)
    // A first line and a count in each minute.
    expect(storeFaults()).toBeLessThan(12)
  })
})
