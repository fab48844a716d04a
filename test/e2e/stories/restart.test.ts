/**
 * nginx is reloaded and upgraded, the sidecar is restarted, in the middle of transfers: none is cut.
 * The old sidecar finishes what it has begun; what would need it meanwhile is passed.
 */
import { readdirSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Pair, startPair } from '../support/pair.ts'
import {
  cloneState,
  copyOf,
  makeRepository,
  onUpstream,
  REPAIRED,
  ROTTEN,
} from '../support/repositories.ts'
import { client, must, results, sh, stack, uniqueId } from '../support/servers.ts'
import { onEachNginx } from '../support/versions.ts'

const BIG =
  'head -c 3000000 /dev/urandom | git hash-object -w --stdin > big; git update-ref refs/tags/big $(cat big)'

onEachNginx((suite) => {
  const TRANSFERS = suite === 'trixie' ? 200 : 50
  /** Of what the sidecar streams. */
  const STREAMS = 20
  let pair: Pair
  beforeAll(async () => {
    pair = await startPair({ name: uniqueId('restart'), suite })
  })
  afterAll(() => pair.stop())

  /** So many fetches of the big object at once, slowly; prints how often each digest came. */
  async function transfers(repository: string, oid: string, rate: string, count = TRANSFERS) {
    const id = uniqueId('restart')
    const out = await must(
      client(suite),
      `pkt() { printf '%04x%s\\n' $((\${#1} + 5)) "$1"; }
      d=/w/work/${id}; mkdir $d; { pkt command=fetch; printf 0001; pkt no-progress; pkt 'want ${oid}'; pkt done; printf 0000; } > $d/request
      for i in $(seq ${count}); do
        { curl -sf --limit-rate ${rate} -H 'X-Test: ${id}' -H 'git-protocol: version=2' -H 'content-type: application/x-git-upload-pack-request' --data-binary @$d/request -o $d/$i ${pair.url}/pub/${repository}/git-upload-pack || echo cut $i > $d/$i; } &
      done; wait; rm $d/request; cd $d; md5sum * | cut -c1-32 | sort | uniq -c | awk '{print $1}'; cd /; rm -rf $d`
    )
    const how: Record<string, number> = {}
    for (const one of results(suite, id, pair.log)) how[one] = (how[one] ?? 0) + 1
    return { same: out.trim(), how }
  }

  /** How it was answered, and whether git took it. */
  async function clone(repository: string, options = ''): Promise<string> {
    const { code, how } = await cloneState(
      suite,
      pair.url,
      repository,
      `--bare ${options}`,
      pair.log
    )
    return `${how} ${code === 0}`
  }

  const soon = (act: () => Promise<void>) => sleep(2500).then(act)

  test('nginx is reloaded while it sends stored answers', async () => {
    const repository = await copyOf('small', BIG)
    const oid = await onUpstream(repository, 'cat big')
    await transfers(repository, oid, '3m')
    const [all] = await Promise.all([
      transfers(repository, oid, '500k'),
      soon(() => pair.signalNginx('SIGHUP')),
    ])
    expect(all).toEqual({ same: String(TRANSFERS), how: { hit: TRANSFERS } })
  })

  test('nginx is replaced by another binary', async () => {
    const repository = await copyOf('small', BIG)
    const oid = await onUpstream(repository, 'cat big')
    await transfers(repository, oid, '3m')
    const upgrade = async () => {
      await pair.signalNginx('SIGUSR2')
      await sleep(1000)
      await must(client(suite), `kill -QUIT "$(cat ${pair.pid}.oldbin)"`)
    }
    const [all] = await Promise.all([transfers(repository, oid, '500k'), soon(upgrade)])
    expect(all).toEqual({ same: String(TRANSFERS), how: { hit: TRANSFERS } })
  })

  test('the sidecar is restarted while it streams', async () => {
    const repository = await copyOf('small', `${BIG}; touch slow-pack`)
    const other = await copyOf('small')
    const oid = await onUpstream(repository, 'cat big')
    let meanwhile = ''
    let second = { code: 0, out: '' }
    const restart = async () => {
      const stopped = pair.signalSidecar('SIGTERM')
      // The signal goes by docker exec, which may take longer than all that follows.
      while (!pair.logged().some((line) => String(line.msg).startsWith('draining'))) await sleep(50)
      second = await sh(
        stack().sidecar[suite] as string,
        `timeout 10 /w/sidecar/bin/nginx-git-cache serve --data ${pair.data} --socket /tmp/second.sock --upstream http://upstream=http://upstream:80`
      )
      meanwhile = await clone(other)
      await stopped
      await pair.startSidecar()
    }
    // 3 MB at this rate are half a minute.
    const [all] = await Promise.all([transfers(repository, oid, '100k', STREAMS), soon(restart)])
    expect(all.same).toBe(String(STREAMS))
    expect((all.how.join ?? 0) + (all.how.miss ?? 0), JSON.stringify(all.how)).toBeGreaterThan(1)
    expect(meanwhile).toBe('pass; reason=sidecar true')
    expect([second.code, second.out]).toEqual([2, expect.stringContaining('GITCACHE_LOCKED')])
    await warmUpPair(other)
  })

  test('the sidecar is killed before git has looked at what it stored: the next one looks', async () => {
    const repository = await makeRepository('rotten', ROTTEN)
    const shallow = () => clone(repository, '--depth 1')
    const files = (dir: string) =>
      readdirSync(path.join(pair.dataHere, dir), { recursive: true }).map(String)
    expect(await shallow()).toBe('miss false')
    // A file each, and one in packs/ that says whose it is.
    await expect.poll(() => files('unconfirmed').length).toBe(1)
    const [name = ''] = files('unconfirmed')
    const answer = path.join(name.slice(0, 2), name.slice(0, 64))
    await expect.poll(() => files('packs').includes(answer)).toBe(true)
    await pair.signalSidecar('SIGKILL')
    await onUpstream(repository, REPAIRED)
    await pair.startSidecar()
    await expect.poll(shallow, { timeout: 60_000 }).toBe('miss true')

    await expect.poll(() => files('unconfirmed').length, { timeout: 60_000 }).toBe(1)
    await expect.poll(() => files('unconfirmed').length, { timeout: 60_000 }).toBe(0)
    await pair.signalSidecar('SIGKILL')
    await pair.startSidecar()
    expect(await shallow()).toBe('hit true')
  })

  /** The new one works as the old one did. */
  async function warmUpPair(repository: string): Promise<void> {
    for (let i = 0; i < 40; i++) {
      const how = await clone(repository)
      expect(how).toMatch(/ true$/)
      if (how === 'hit true') return
    }
    throw new Error('the new sidecar stores nothing')
  }
})
