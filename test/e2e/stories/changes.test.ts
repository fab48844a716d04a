/**
 * Never stale: whatever happens to a repository between two requests, the next client through the
 * cache ends up with what a direct client has. Every way to clone, after every change.
 */
import { expect, test } from 'vitest'
import {
  basic,
  cacheOf,
  DIRECT,
  makeRepository,
  onUpstream,
  recreate,
  warmUp,
} from '../support/repositories.ts'
import { client, results, sh, uniqueId } from '../support/servers.ts'
import type { Suite } from '../support/stack.ts'
import { onEachNginx } from '../support/versions.ts'

const WAYS = ['', '--depth 1', '--single-branch', '--depth 1 --no-single-branch', '--mirror']
const PROTOCOLS = [2, 0]

interface Left {
  /** Exit status, what git said, refs, objects. */
  out: string
  ids: string[]
}

/** Clones in every way at once, and says what each left. */
async function clones(suite: Suite, origin: string, path: string, header = ''): Promise<Left> {
  const options = header === '' ? '' : `-c http.extraHeader='${header}'`
  const ids: string[] = []
  const parts = PROTOCOLS.flatMap((protocol) =>
    WAYS.map((way) => {
      const id = uniqueId('change')
      ids.push(id)
      return `echo "== v${protocol} ${way}"; git -c http.extraHeader=X-Test:${id} ${options} -c protocol.version=${protocol} clone -q ${way} ${origin}${path} c; echo "exit $?"; [ -d c ] && state c full; rm -rf c`
    })
  )
  const dir = `/w/work/${uniqueId('changes')}`
  const script = `. /w/state.sh; export GIT_TERMINAL_PROMPT=0; mkdir ${dir} && cd ${dir} || exit 9
${parts.join('\n')}
rm -rf ${dir}`
  const { out } = await sh(client(suite), script)
  return { out: out.replaceAll(origin, 'HOST'), ids }
}

const START = `commit main one; commit main two; commit main three; commit topic a
git tag -a -m v1 v1 main~1; git tag -a -m v2 v2 main; git tag light main`

const CHANGES = [
  { name: 'a new commit', script: 'commit main four' },
  { name: 'a new annotated tag on an old commit', script: 'git tag -a -m late late main~1' },
  { name: 'a new annotated tag on the tip', script: 'git tag -a -m late late main' },
  {
    name: 'a moved tag',
    script: 'git tag -f -a -m moved v2 main~2 > /dev/null; git tag -f light main~1 > /dev/null',
  },
  { name: 'a deleted tag', script: 'git tag -d v2 > /dev/null' },
  { name: 'a force push', script: 'git update-ref refs/heads/main main~2; commit main other' },
  {
    name: 'a force push, and what it left pruned',
    script:
      'git update-ref refs/heads/main main~2; git tag -d v1 v2 light > /dev/null; commit main other; prune',
  },
  { name: 'a deleted branch', script: 'git update-ref -d refs/heads/topic' },
  { name: 'another default branch', script: 'git symbolic-ref HEAD refs/heads/topic' },
]

onEachNginx((suite) => {
  const cache = cacheOf(suite)

  async function sameAsDirect(path: string, header?: string): Promise<Left> {
    const direct = await clones(suite, DIRECT, path, header)
    const cached = await clones(suite, cache, path, header)
    expect(cached.out).toBe(direct.out)
    return cached
  }

  test.concurrent.each(CHANGES)('after $name', async ({ script }) => {
    const repository = await makeRepository('change', START)
    const path = `/pub/${repository}`
    await warmUp(suite, path)
    const before = await sameAsDirect(path)
    await onUpstream(repository, script)
    const after = await sameAsDirect(path)
    expect(after.out).not.toBe(before.out)
    const how = (await sameAsDirect(path)).ids.flatMap((id) => results(suite, id))
    expect(how.filter((result) => !/^(hit|pass; reason=v0-no-done)$/.test(result))).toEqual([])
    expect(how.filter((result) => result === 'hit').length).toBeGreaterThan(3)
  })

  test.concurrent('after the repository is deleted, and made anew with another history', async () => {
    const repository = await makeRepository('change', START)
    const path = `/pub/${repository}`
    await warmUp(suite, path)
    await onUpstream(repository, `cd .. && rm -rf ${repository} && mkdir ${repository}`)
    const gone = await sameAsDirect(path)
    expect(gone.out).toContain('exit 128')
    await recreate(repository, 'commit main new root; commit main newer; git tag -a -m v1 v1 main')
    await sameAsDirect(path)
    await sameAsDirect(path)
  })

  test.concurrent.each([
    ['alice', 'bob'],
    ['bob', 'alice'],
  ])('%s sees refs and tags that %s does not, or the reverse', async (first, second) => {
    const repository = await makeRepository(
      'views',
      `${START}; commit secret hidden; git tag -a -m secret secret main; git tag -a -m old open main~1`
    )
    const path = `/priv/${repository}`
    const clonesOf = (user: string) => sameAsDirect(path, basic(user))
    await warmUp(suite, path, `-c http.extraHeader='${basic(first)}'`)
    for (const user of [first, second, first, second]) {
      const { out } = await clonesOf(user)
      expect(out.includes('refs/tags/secret')).toBe(user === 'alice')
    }
  })

  test.concurrent.each([
    { name: 'small', bytes: 100 },
    { name: 'of more than 1 MB', bytes: 3_000_000 },
  ])('a push through the cache, $name, is seen at once', async ({ bytes }) => {
    const repository = await makeRepository('push', START)
    await warmUp(suite, `/pub/${repository}`)
    const dir = `/w/work/${uniqueId('push')}`
    const url = `${cache}/push/${repository}`
    const push = await sh(
      client(suite),
      `git clone -q ${DIRECT}/pub/${repository} ${dir} && cd ${dir} && head -c ${bytes} /dev/urandom > big && git add big && git -c user.name=A -c user.email=a@example.org commit -q -m big && git push -q ${url} HEAD:main && git rev-parse HEAD; code=$?; rm -rf ${dir}; exit $code`
    )
    expect(push.code, push.out).toBe(0)
    const left = await sameAsDirect(`/pub/${repository}`)
    expect(left.out).toContain(`${push.out.trim().split('\n').at(-1)} refs/heads/main`)
  })
})
