/**
 * A mirror holds more than upstream gives: what was force-pushed, hidden, pruned. Named as a want,
 * as a have or as a shallow, each object comes through the cache exactly when upstream gives it.
 */
import { beforeAll, expect, test } from 'vitest'
import {
  basic,
  cacheOf,
  DIRECT,
  makeRepository,
  mirrored,
  oidOf,
  onUpstream,
  warmUp,
} from '../support/repositories.ts'
import { onEachNginx } from '../support/versions.ts'
import { type Answer, type Ask, ask, askBoth, fetchV0, fetchV2, hasPack } from '../support/wire.ts'

const POST = '/git-upload-pack'
const ALL = 'deepen 2147483647'

onEachNginx((suite) => {
  const cache = cacheOf(suite)
  let repository = ''
  let other = ''
  const oid: Record<string, string> = {}

  beforeAll(async () => {
    repository = await makeRepository(
      'objects',
      `commit main one; commit main two; commit main leaked; commit main again
git branch secret main~2; commit secret hidden; git tag -a -m secret secret secret`
    )
    other = await makeRepository('objects', 'commit main theirs root; commit main more')
    for (const name of ['leaked', 'again'])
      oid[`${name} blob`] = await oidOf(repository, `main:${name}`)
    oid.leaked = await oidOf(repository, 'main~1')
    oid.again = await oidOf(repository, 'main')
    oid.secret = await oidOf(repository, 'secret')
    oid['secret blob'] = await oidOf(repository, 'secret:hidden')
    oid.theirs = await oidOf(other, 'main')
    await warmUp(suite, `/pub/${other}`)
    await warmUp(suite, `/pub/${repository}`)
    await warmUp(suite, `/priv/${repository}`, `-c http.extraHeader='${basic('alice')}'`)
    await onUpstream(
      repository,
      `git update-ref refs/heads/main main~2; commit main fixed; commit main better; prune
git update-ref refs/hidden/x "$(git commit-tree -p main -m hidden 'main^{tree}')"
git config transfer.hideRefs refs/hidden
git commit-tree -p main -m stray 'main^{tree}' > stray; echo stray blob | git hash-object -w --stdin > stray-blob`
    )
    oid.main = await oidOf(repository, 'main')
    oid.hidden = await oidOf(repository, 'refs/hidden/x')
    oid.stray = await onUpstream(repository, 'cat stray')
    oid['stray blob'] = await onUpstream(repository, 'cat stray-blob')
  })

  /** The same request to both; what was answered, and whether with a pack. */
  async function same(request: Ask) {
    const { cached, meaning } = await askBoth(suite, request)
    return { pack: hasPack(cached), how: cached.results.join(), objects: meaning.objects }
  }

  const want = (name: string) => `want ${oid[name]}`

  function bothFamilies(path: string, lines: string[], headers: string[] = []): Ask[] {
    return [
      { path, headers, body: fetchV2('thin-pack', 'ofs-delta', ...lines, 'done') },
      { path, headers, body: fetchV0(...lines), protocol: 0 },
    ]
  }

  test('the mirror still holds what upstream has pruned', async () => {
    expect(await mirrored(suite, oid.leaked as string)).toBe(true)
    expect(await mirrored(suite, oid['leaked blob'] as string)).toBe(true)
  })

  test.each([
    { name: 'leaked', given: false },
    { name: 'again', given: false },
    { name: 'leaked blob', given: false },
    { name: 'theirs', given: false },
    { name: 'hidden', given: true },
    { name: 'stray', given: true },
    { name: 'stray blob', given: true },
  ])('wanted by id: $name', async ({ name, given }) => {
    for (const request of bothFamilies(`/pub/${repository}${POST}`, [want(name)])) {
      const answer = await same(request)
      // Protocol v2 of git gives every object; v0 only what refs reach.
      if (request.protocol !== 0) expect(answer.pack).toBe(given)
      // By id from upstream into the mirror, since no ref gives it.
      const isCommit = !name.endsWith('blob')
      if (request.protocol !== 0 && given && isCommit)
        expect(answer.how).toMatch(/^(miss|join|hit)/)
      if (!answer.pack) expect(answer.how).toMatch(/^pass; reason=/)
    }
    const beside = bothFamilies(`/pub/${repository}${POST}`, [want('main'), want(name)])
    for (const request of beside) await same(request)
  })

  test.each(['secret', 'secret blob', 'main'])('%s, for who sees it and who not', async (name) => {
    const path = `/priv/${repository}${POST}`
    for (const user of ['bob', 'alice', 'bob'])
      for (const request of bothFamilies(path, [want(name)], [basic(user)])) await same(request)
    for (const request of bothFamilies(path, [want(name)]))
      expect((await same(request)).pack).toBe(false)
  })

  test.each(['leaked', 'again', 'theirs'])('named as a have: %s', async (name) => {
    const path = `/pub/${repository}${POST}`
    const whole = await same({ path, body: fetchV2('ofs-delta', want('main'), 'done') })
    const have = `have ${oid[name]}`
    const options = ['thin-pack', 'ofs-delta', want('main'), have]
    const done = await same({ path, body: fetchV2(...options, 'done') })
    expect(done.objects).toEqual(whole.objects)
    expect(await same({ path, body: fetchV2(...options) })).toMatchObject({
      pack: false,
      how: 'nak',
    })
    const waits = await same({ path, body: fetchV2(...options, 'wait-for-done') })
    expect(waits.pack).toBe(false)
    const known = `have ${await oidOf(repository, 'main~1')}`
    const round = await ask(suite, cache, { path, body: fetchV2(...options, known) })
    const direct = await ask(suite, DIRECT, { path, body: fetchV2(...options, known) })
    const start = (answer: Answer) => answer.body.toString('latin1').split('packfile')[0]
    expect(start(round)).toBe(start(direct))
  })

  test('thousands of haves that upstream does not know, read by the sidecar', async () => {
    const haves = Array.from({ length: 7000 }, (_, i) => `have ${i.toString(16).padStart(40, 'e')}`)
    const request = { path: `/pub/${repository}${POST}`, body: fetchV2(want('main'), ...haves) }
    expect(await same(request)).toMatchObject({ pack: false, how: 'nak' })
    // Who may not read gets no such answer.
    const closed = { ...request, path: `/priv/${repository}${POST}` }
    expect((await same(closed)).how).toMatch(/^pass; reason=/)
  })

  test.each(['leaked', 'again', 'theirs'])('named in a shallow line alone: %s', async (name) => {
    const path = `/pub/${repository}${POST}`
    for (const deepen of [ALL, 'deepen 1', 'deepen-since 1500000000', '']) {
      const lines = [want('main'), `shallow ${oid[name]}`, ...(deepen ? [deepen] : [])]
      for (const request of bothFamilies(path, lines)) {
        const answer = await same(request)
        const ids = (answer.objects ?? []) as string[]
        expect(ids).not.toContain(oid.leaked)
        expect(ids).not.toContain(oid['leaked blob'])
        expect(ids).not.toContain(oid.theirs)
      }
    }
  })

  test('a request that is a hit here, replayed on another repository', async () => {
    const request = { body: fetchV2('ofs-delta', want('theirs'), 'done') }
    const own = await same({ ...request, path: `/pub/${other}${POST}` })
    expect(own.pack).toBe(true)
    const foreign = await same({ ...request, path: `/pub/${repository}${POST}` })
    expect(foreign).toMatchObject({ pack: false, how: 'pass; reason=refused' })
  })
})
