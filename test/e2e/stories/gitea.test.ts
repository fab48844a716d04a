/**
 * A forge with users, tokens, private repositories and pull requests: each user gets through the
 * cache what Gitea gives that user, and nobody is served what the cache has because of another.
 */
import { beforeAll, expect, test } from 'vitest'
import {
  ANONYMOUS,
  as,
  BASIC,
  BEARER,
  FORGE,
  fillRepository,
  forge,
  forgeThrough,
  type Seen,
  warmForge,
} from '../support/forge.ts'
import type { GiteaUser, Repository } from '../support/gitea-api.ts'
import { client, logs, must, stack, uniqueId } from '../support/servers.ts'
import type { SUITES } from '../support/stack.ts'
import { onEachNginx } from '../support/versions.ts'

/** The same script straight and through the cache: the same outcome; returns the second. */
function comparing(nginx: (typeof SUITES)[number]) {
  return async (who: string, script: string): Promise<Seen> => {
    const direct = await as(who, nginx, FORGE, script)
    const cached = await as(who, nginx, forgeThrough(nginx), script)
    expect({ code: cached.code, out: cached.out }, logs()).toEqual({
      code: direct.code,
      out: direct.out,
    })
    return cached
  }
}

onEachNginx((nginx) => {
  const same = comparing(nginx)
  const at = ({ owner, name }: Repository) => `$URL/${owner}/${name}.git`
  const clone = (repository: Repository, options = '') =>
    `g clone -q ${options} ${at(repository)} c`

  let alice: GiteaUser
  let bob: GiteaUser
  let eve: GiteaUser
  let secret: Repository
  let open: Repository
  let team: Repository

  const newRepository = async (owner: string, hidden: boolean, by: GiteaUser) => {
    const repository = await forge().createRepo({
      owner,
      name: uniqueId('r').toLowerCase(),
      private: hidden,
    })
    await fillRepository(nginx, by, repository)
    return repository
  }

  beforeAll(async () => {
    const user = (name: string) => forge().createUser(uniqueId(`${name}-${nginx}`).toLowerCase())
    alice = await user('alice')
    bob = await user('bob')
    eve = await user('eve')
    secret = await newRepository(alice.user, true, alice)
    open = await newRepository(alice.user, false, alice)
    await forge().addCollaborator(secret, bob.user)
    const org = uniqueId(`org-${nginx}`).toLowerCase()
    await forge().createOrg(org)
    team = await newRepository(org, true, stack().gitea.admin)
    await forge().createTeam({ org, name: 'readers', members: [bob.user] })
    await warmForge(nginx, BASIC(alice), secret)
    await warmForge(nginx, ANONYMOUS, open)
    await warmForge(nginx, BASIC(stack().gitea.admin), team)
  })

  test('a private repository: owner, reader, outsider, nobody', async () => {
    for (const how of [BASIC, BEARER])
      for (const who of [alice, bob])
        expect(await same(how(who), clone(secret))).toMatchObject({ code: 0, how: 'hit' })
    for (const who of [BASIC(eve), BEARER(eve), ANONYMOUS]) {
      const seen = await same(who, clone(secret))
      expect(seen.code).not.toBe(0)
      expect(seen.how).toBe('')
    }
    const password = BASIC({ user: bob.user, token: bob.password })
    expect(await same(password, clone(secret))).toMatchObject({ code: 0, how: 'hit' })
  })

  test('a public repository is a hit for anyone', async () => {
    for (const who of [ANONYMOUS, BASIC(eve), BEARER(bob)])
      expect(await same(who, clone(open))).toMatchObject({ code: 0, how: 'hit' })
  })

  test("an organisation's repository, for its team alone", async () => {
    expect(await same(BEARER(bob), clone(team))).toMatchObject({ code: 0, how: 'hit' })
    for (const who of [BASIC(alice), BEARER(eve), ANONYMOUS])
      expect((await same(who, clone(team))).code).not.toBe(0)
  })

  test('a token is refused on the very next request after it was revoked', async () => {
    const carol = await forge().createUser(uniqueId(`carol-${nginx}`).toLowerCase())
    await forge().addCollaborator(secret, carol.user)
    expect(await same(BASIC(carol), clone(secret))).toMatchObject({ code: 0, how: 'hit' })
    await forge().revokeToken(carol)
    for (const who of [BASIC(carol), BEARER(carol)]) {
      const seen = await same(who, clone(secret))
      expect(seen.code).not.toBe(0)
      expect(seen.how).toBe('')
    }
  })

  test('a right that is taken away counts at once', async () => {
    const dave = await forge().createUser(uniqueId(`dave-${nginx}`).toLowerCase())
    await forge().addCollaborator(secret, dave.user)
    expect(await same(BASIC(dave), clone(secret))).toMatchObject({ code: 0, how: 'hit' })
    const { owner, name } = secret
    await forge().api('DELETE', `/repos/${owner}/${name}/collaborators/${dave.user}`)
    expect((await same(BASIC(dave), clone(secret))).code).not.toBe(0)
  })

  test('a pull request, by its ref and by its id', async () => {
    const dir = `/w/work/${uniqueId('pr')}`
    const url = `${FORGE}/${open.owner}/${open.name}.git`
    const oid = await must(
      client(nginx),
      `git clone -q ${url} ${dir} && cd ${dir} && git checkout -q -b feature && echo new > feature.txt && git add . && git commit -q -m feature && git ${BASIC(alice)} push -q ${url} feature 1>&2 && git rev-parse HEAD; code=$?; rm -rf ${dir}; exit $code`
    ).then((out) => out.trim().split('\n').at(-1) as string)
    await forge().api('POST', `/repos/${open.owner}/${open.name}/pulls`, {
      head: 'feature',
      base: 'main',
      title: 'a feature',
    })
    for (const what of ['refs/pull/1/head', oid]) {
      const script = `git init -q c; g -C c fetch -q --no-tags --depth 1 ${at(open)} ${what}; git -C c update-ref refs/heads/pr FETCH_HEAD`
      expect((await same(ANONYMOUS, script)).code).toBe(0)
      const second = await same(ANONYMOUS, script)
      expect(second).toMatchObject({ code: 0, how: 'hit' })
      expect(second.out).toContain(oid)
    }
  })

  test('a push through the cache, and then a fetch', async () => {
    const repository = await newRepository(alice.user, true, alice)
    await warmForge(nginx, BASIC(alice), repository)
    const push = `${clone(repository)}; cd c; echo "$URL" > pushed.txt; git add .; git commit -q -m pushed; g push -q origin HEAD:main; git rev-parse HEAD > ../../${repository.name}.oid; git push -q origin HEAD:main 2> /dev/null && exit 7; true`
    const pushed = await as(BASIC(alice), nginx, forgeThrough(nginx), push)
    expect(pushed, pushed.out).toMatchObject({ code: 0 })
    const oid = await must(client(nginx), `cat /w/work/${repository.name}.oid`)
    const fetched = await same(BASIC(alice), clone(repository))
    expect(fetched.code).toBe(0)
    expect(fetched.out).toContain(`${oid} refs/heads/main`)
    expect(await same(BASIC(alice), clone(repository))).toMatchObject({ how: 'hit' })
  })

  test('a protected branch refuses a push, hidden refs and what is in them stay hidden', async () => {
    const repository = await newRepository(alice.user, false, alice)
    const { owner, name } = repository
    await forge().api('POST', `/repos/${owner}/${name}/branch_protections`, {
      rule_name: 'main',
      enable_push: false,
    })
    const push = `${clone(repository)}; cd c; git commit -q --allow-empty -m no; g push origin HEAD:main > /dev/null 2>&1`
    expect((await as(BASIC(alice), nginx, forgeThrough(nginx), push)).code).toBe(1)
    const gitDir = `/tmp/gitea/data/gitea-repositories/${owner}/${name}.git`
    const oid = await must(
      stack().gitea.id,
      `export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=A GIT_COMMITTER_EMAIL=a@b; cd ${gitDir} && oid=$(git commit-tree -m hidden 'main^{tree}') && git update-ref refs/hidden/secret $oid && echo $oid`
    )
    await warmForge(nginx, ANONYMOUS, repository)
    const all = (dir: string) =>
      `git -C ${dir} for-each-ref; git -C ${dir} cat-file --batch-all-objects --batch-check`
    const mirror = clone(repository, '--mirror').replace(/ c$/, ' m')
    const seen = await same(ANONYMOUS, `${mirror}; ${all('m')}`)
    expect(seen.code).toBe(0)
    expect(seen.out).toContain('refs/heads/main')
    expect(seen.out).not.toContain(oid)
    const byId = `git init -q c; g -C c fetch -q --depth 1 ${at(repository)} ${oid}; ${all('c')}`
    await same(ANONYMOUS, byId)
  })

  test('a file in LFS', async () => {
    const repository = await newRepository(alice.user, true, alice)
    // git-lfs sends an extraHeader of Authorization beside its own, which nginx refuses.
    const named = `URL=$(echo $URL | sed 's#//#//${alice.user}:${alice.token}@#'); ${clone(repository)}`
    const push = `${named}; cd c; git lfs install --local > /dev/null; git lfs track '*.bin' > /dev/null; seq 100000 > large.bin; git add .; git commit -q -m lfs; g push -q origin HEAD:main`
    const pushed = await as(ANONYMOUS, nginx, forgeThrough(nginx), push)
    expect(pushed, pushed.out).toMatchObject({ code: 0 })
    await warmForge(nginx, BASIC(alice), repository)
    const seen = await same(ANONYMOUS, `${named}; sha256sum c/large.bin`)
    expect(seen).toMatchObject({ code: 0, how: 'hit' })
    const expected = await must(client(nginx), 'seq 100000 | sha256sum | cut -d" " -f1')
    expect(seen.out).toContain(`${expected}  c/large.bin`)
  })

  test('a renamed repository leads nobody past the cache or past Gitea', async () => {
    const repository = await newRepository(alice.user, true, alice)
    await warmForge(nginx, BASIC(alice), repository)
    const { owner, name } = repository
    await forge().api('PATCH', `/repos/${owner}/${name}`, { name: `${name}-new` })
    await warmForge(nginx, BASIC(alice), repository)
    const second = await same(BASIC(alice), clone(repository))
    expect(second).toMatchObject({ code: 0, how: 'hit' })
    for (const who of [BASIC(eve), ANONYMOUS]) {
      const outsider = await same(who, clone(repository))
      expect(outsider.code).not.toBe(0)
    }
  })
})
