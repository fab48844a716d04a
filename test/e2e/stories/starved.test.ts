/** Out of file descriptors, processes, memory: what the sidecar cannot do is passed, and no git operation fails. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Pair, startPair } from '../support/pair.ts'
import { cloneState, copyOf, DIRECT } from '../support/repositories.ts'
import { client, logs, must, results, stack, uniqueId, untilMirrored } from '../support/servers.ts'
import { onOneNginx } from '../support/versions.ts'

const CLIENTS = 20
/** Before /usr/bin in a sidecar's PATH. */
const WRAPPER = '/usr/local/sbin/git'

onOneNginx((suite) => {
  const sidecar = stack().sidecar[suite] as string

  /** What so many clients get at once, each another part of the history; distinct ends of them. */
  async function clones(origin: string, repository: string): Promise<{ out: string; id: string }> {
    const id = uniqueId('starved')
    const out = await must(
      client(suite),
      `mkdir /w/work/${id}; cd /w/work/${id}; for i in $(seq ${CLIENTS}); do
        i=$i sh -c '. /w/state.sh; git -c http.extraHeader=X-Test:${id} clone -q --bare --depth $i ${origin}/pub/${repository} $i 2>&1; echo "exit $?"; state $i full' > $i.out &
      done; wait; for i in $(seq ${CLIENTS}); do md5sum < $i.out; done; grep -L 'exit 0' *.out | xargs -r cat; cd /; rm -rf /w/work/${id}`
    )
    return { out, id }
  }

  /** How clones through the cache were answered; all are as straight from upstream. */
  async function sameAsDirect(pair: Pair, repository: string): Promise<string[]> {
    const direct = await clones(DIRECT, repository)
    const cached = await clones(pair.url, repository)
    expect(cached.out, logs()).toBe(direct.out)
    return results(suite, cached.id, pair.log)
  }

  async function untilHit(pair: Pair, repository: string): Promise<void> {
    const how: string[] = []
    for (let i = 0; i < 90 && how.at(-1) !== 'hit'; i++) {
      await new Promise((resolve) => setTimeout(resolve, 1000))
      const clone = await cloneState(suite, pair.url, repository, '--bare', pair.log)
      expect(clone.code, clone.out).toBe(0)
      how.push(clone.how)
    }
    const open = `ls -l /proc/$(cat ${pair.data}/../sidecar.pid)/fd | sed 's/.*-> //'`
    expect(
      how.at(-1),
      await must(
        sidecar,
        `setpriv --reuid=www-data --regid=www-data --clear-groups sh -c "${open}"`
      )
    ).toBe('hit')
  }

  /** spawn opens eight, and what is left over when it fails depends on where it fails. */
  describe.each([43, 44, 45, 46])('%i file descriptors', (limit) => {
    let pair: Pair
    beforeAll(async () => {
      pair = await startPair({ name: uniqueId('starved'), suite, before: `ulimit -n ${limit};` })
    })
    afterAll(() => pair.stop())

    test('many clients at once, cold and with a mirror', async () => {
      const repository = await copyOf('main')
      const answered = [
        ...(await sameAsDirect(pair, repository)),
        ...(await sameAsDirect(pair, repository)),
      ]
      // It was starved, and it was not of no use.
      expect(answered.some((how) => /^pass; reason=/.test(how))).toBe(true)
      expect(answered.some((how) => /^(hit|miss|join)$/.test(how))).toBe(true)
    })

    test('when it is over, it works', async () => untilHit(pair, await copyOf('small')))
  })

  test('a share of two answers at once for each client: he gets the others without us', async () => {
    const args = ['--per-client', '2']
    const pair = await startPair({ name: uniqueId('share'), suite, args })
    const repository = await copyOf('main')
    const answered = await sameAsDirect(pair, repository)
    expect(answered).toContain('pass; reason=client-limit')
    expect(answered).toContain('miss')
    await untilHit(pair, repository)
    await pair.stop()
  })

  test('one git at once and two who wait: the others pass, and asking a mirror starts no more', async () => {
    const args = ['--git-processes', '1', '--queue-length', '2']
    const name = uniqueId('queue')
    const pair = await startPair({ name, suite, args })
    const repository = await copyOf('main')
    await cloneState(suite, pair.url, repository, '--bare', pair.log)
    await untilMirrored(pair.dataHere, `/pub/${repository}`)
    const look = `*/pairs/${name}/*cat-file*) sleep 0.2 ;;`
    await wrapGit(`${look} *upload-pack*/pairs/${name}/*) sleep 1 ;;`)
    try {
      const most = mostChildren(`$(cat ${pair.data}/../sidecar.pid)`)
      const answered = await sameAsDirect(pair, repository)
      // A pack, a look, a fetch, and two that are idle.
      expect(await most()).toBeLessThanOrEqual(5)
      expect(answered).toContain('pass; reason=busy')
      expect(answered).toContain('miss')
      await untilHit(pair, repository)
    } finally {
      await must(sidecar, `rm ${WRAPPER}`)
      await pair.stop()
    }
  })

  /** What git's arguments decide before it runs, as a pattern of sh's case. */
  async function wrapGit(pattern: string): Promise<void> {
    const script = `#!/bin/sh\ncase "$*" in ${pattern} esac\nexec /usr/bin/git "$@"\n`
    await must(sidecar, `printf '%s' "$SCRIPT" > ${WRAPPER}; chmod 755 ${WRAPPER}`, {
      SCRIPT: script,
    })
  }

  /** Counts a process's children again and again until it is asked for the most that it saw. */
  function mostChildren(pid: string): () => Promise<number> {
    const flag = `/tmp/${uniqueId('count')}`
    const count = `most=0; while [ -e ${flag} ]; do
      set -- $(cat /proc/$0/task/$0/children); [ $# -gt $most ] && most=$#
    done; echo $most`
    const seen = must(sidecar, `touch ${flag}; timeout 60 sh -c '${count}' ${pid}`)
    return async () => {
      await must(sidecar, `rm ${flag}`)
      return Number(await seen)
    }
  }

  /**
   * By prlimit(1) for each git of this sidecar. With 8 MB it does not begin, with 12 it begins and
   * cannot map a pack of 6 MB.
   */
  const LIMITS = [
    { name: 'no process of its own', limit: '--nproc=1' },
    { name: '8 MB of memory', limit: '--as=8000000' },
    { name: '12 MB of memory', limit: '--as=12000000' },
    { name: 'no file of more than 4 kB', limit: '--fsize=4096' },
  ]
  const BIG = `blob=$(head -c 6000000 /dev/urandom | git hash-object -w --stdin)
tree=$(printf '100644 blob %s\tbig\n' $blob | git mktree)
git update-ref refs/heads/main $(git commit-tree -m big -p main $tree); git repack -adq`

  describe('what git may use', () => {
    const name = uniqueId('limited')
    const limits = `/w/pairs/${name}/limits`
    let pair: Pair
    beforeAll(async () => {
      pair = await startPair({ name, suite, args: ['--make-mirrors', 'always'] })
      const limited = `[ -s ${limits} ] && exec prlimit $(cat ${limits}) /usr/bin/git "$@"`
      await wrapGit(`*/pairs/${name}/*) ${limited} ;;`)
    })
    afterAll(async () => {
      await must(sidecar, `rm -f ${WRAPPER}`)
      await pair.stop()
    })

    test.each(LIMITS)('$name: cold, with a mirror, and when it is over', async ({ limit }) => {
      const limited = `echo '${limit}' > ${limits}`
      const cold = await copyOf('main', BIG)
      await must(sidecar, limited)
      const answered = await sameAsDirect(pair, cold)
      await must(sidecar, `rm ${limits}`)

      const warm = await copyOf('main', BIG)
      await clones(pair.url, warm)
      await untilMirrored(pair.dataHere, `/pub/${warm}`)
      await must(sidecar, `rm -rf ${pair.data}/packs/*; ${limited}`)
      answered.push(...(await sameAsDirect(pair, warm)))
      await must(sidecar, `rm ${limits}`)
      expect(answered.filter((how) => !/^(hit|miss|join|pass; reason=[a-z-]+)$/.test(how))).toEqual(
        []
      )
      expect(answered.filter((how) => /reason=(error|sidecar)/.test(how))).toEqual([])

      await untilHit(pair, cold)
      await untilHit(pair, warm)
    })

    test('the log says what was wrong, and no mirror was taken for a damaged one', () => {
      const codes = new Set(pair.logged().map(({ code }) => code))
      expect(codes).toContain('GITCACHE_GIT')
      expect(codes).not.toContain('GITCACHE_MIRROR_DAMAGED')
    })
  })
})
