/** A leaked secret, a legal removal: all that is kept of a repository is gone at once, and stays so. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Pair, startPair } from '../support/pair.ts'
import { copyOf, onUpstream } from '../support/repositories.ts'
import { client, must, results, sh, stack, uniqueId, untilMirrored } from '../support/servers.ts'
import { onOneNginx } from '../support/versions.ts'

/** Another one each time: the same text in two repositories would be one object. */
const LEAK = `head -c 40 /dev/urandom | git hash-object -w --stdin > leak; git update-ref refs/tags/leak $(cat leak)`

onOneNginx((suite) => {
  const sidecar = stack().sidecar[suite] as string
  let pair: Pair
  beforeAll(async () => {
    pair = await startPair({ name: uniqueId('purge'), suite })
  })
  afterAll(() => pair.stop())

  async function clone(repository: string, options = '--mirror') {
    const id = uniqueId('purge')
    const ran = await sh(
      client(suite),
      `git -c http.extraHeader=X-Test:${id} clone -q ${options} ${pair.url}/pub/${repository} /w/work/${id}; code=$?; rm -rf /w/work/${id}; exit $code`
    )
    return { code: ran.code, how: results(suite, id, pair.log).join() }
  }

  const PURGE = '/w/sidecar/bin/nginx-git-cache purge'
  const AS_OWNER = 'setpriv --reuid=www-data --regid=www-data --clear-groups'
  const purge = (...operands: string[]) =>
    sh(sidecar, `${AS_OWNER} ${PURGE} --data ${pair.data} ${operands.join(' ')}`)

  /** Mirrors that hold an object. */
  const mirrorsWith = async (oid: string) => {
    const out = await must(
      sidecar,
      `for m in ${pair.data}/mirrors/*/*.git; do git -c safe.directory='*' -C "$m" cat-file -e ${oid} 2> /dev/null && echo "$m"; done; true`
    )
    return out.split('\n').filter(Boolean)
  }
  /** Answers, those that nobody has looked at yet, and what is on its way. */
  const answers = () => must(sidecar, `cd ${pair.data}; find packs unchecked tmp -type f | sort`)

  const mirrored = (repository: string) => untilMirrored(pair.dataHere, `/pub/${repository}`)

  async function untilHit(repository: string, options?: string): Promise<void> {
    for (let i = 0; i < 40; i++) {
      if ((await clone(repository, options)).how === 'hit') return
    }
    throw new Error(`${repository} does not hit`)
  }

  test('answers and mirror go, those of another repository stay', async () => {
    const repository = await copyOf('small', LEAK)
    const other = await copyOf('small')
    await untilHit(other)
    await mirrored(other)
    const before = await answers()
    for (const options of ['--mirror', '--depth 1 --bare']) await untilHit(repository, options)
    await mirrored(repository)
    expect(await answers()).not.toBe(before)
    const oid = await onUpstream(repository, 'cat leak')
    expect(await mirrorsWith(oid)).toHaveLength(1)
    const gone = await purge(`/pub/${repository}`)
    expect(gone).toEqual({
      code: 0,
      out: `/pub/${repository.replace('.git', '')}: 2 answers and 1 mirrors removed`,
    })
    expect(await mirrorsWith(oid)).toEqual([])
    expect(await answers()).toBe(before)
    expect(await clone(other)).toEqual({ code: 0, how: 'hit' })
    expect((await clone(repository)).how).toBe('miss')
    await untilHit(repository)
    await mirrored(repository)
  })

  test('an answer that is on its way is cut, and neither stored nor made a mirror', async () => {
    const repository = await copyOf('main', `${LEAK}; touch slow-pack`)
    const oid = await onUpstream(repository, 'cat leak')
    const before = await answers()
    const running = clone(repository)
    await new Promise((resolve) => setTimeout(resolve, 2000))
    const purged = await purge(`http://git.example.org/pub/${repository}`)
    expect(purged).toMatchObject({
      code: 0,
      out: expect.stringMatching(/, 1 on their way cut off$/),
    })
    expect((await running).code).toBe(128)
    await new Promise((resolve) => setTimeout(resolve, 3000))
    expect(await mirrorsWith(oid)).toEqual([])
    expect(await answers()).toBe(before)
    expect((await clone(repository)).how).toBe('miss')
  })

  test('without a sidecar as well, and bad names are refused', async () => {
    const repository = await copyOf('small')
    await untilHit(repository)
    await mirrored(repository)
    await pair.signalSidecar('SIGINT')
    const asRoot = await sh(sidecar, `${PURGE} --data ${pair.data} /pub/${repository}`)
    expect(asRoot.code).toBe(2)
    expect(asRoot.out).toContain(`belongs to www-data`)
    expect(asRoot.out).toContain(`purge as that user: ${AS_OWNER} nginx-git-cache purge`)
    expect((await purge(`/pub/${repository}`)).out).toMatch(/1 answers and 1 mirrors removed$/)
    await pair.startSidecar()
    expect((await clone(repository)).how).toBe('miss')
    const nothing = await purge('/pub/never.git')
    expect(nothing.code).toBe(2)
    expect(nothing.out).toMatch(/nothing was kept of \/pub\/never: look at the spelling/)
    for (const operands of [[], ['../x'], ['"/a b"']]) {
      const refused = await purge(...operands)
      expect(refused.code).toBe(2)
      expect(refused.out).toMatch(/^nginx-git-cache: .*\(GITCACHE_REPOSITORY\)$/)
    }
  })
})
