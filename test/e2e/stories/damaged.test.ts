/**
 * Power loss: everything is killed, files below the data directory are short or have wrong bits. What
 * is damaged is found before it is served, mirrors are made anew, and git goes on meanwhile.
 */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Pair, startPair } from '../support/pair.ts'
import { cloneState, copyOf, DIRECT } from '../support/repositories.ts'
import { logs, must, stack, uniqueId } from '../support/servers.ts'
import { onOneNginx } from '../support/versions.ts'

const OPTIONS = ['--mirror', '--depth 1 --bare', '--bare --no-tags']

/** Cuts or flips each file but those that are empty; which of both is by turns. */
const DAMAGE = (files: string, kinds: string) =>
  `i=0; for f in $(find ${files} -type f -size +0 ! -name HEAD ! -name boot | sort); do i=$((i + 1)); chmod u+w $f; set -- ${kinds}; shift $((i % $#)); size=$(stat -c %s $f)
  case $1 in
    cut) truncate -s $((size * (i % 7 + 1) / 9)) $f ;;
    flip) printf '\\377\\000\\377\\000' | dd of=$f bs=1 seek=$((size * (i % 5 + 2) / 8)) conv=notrunc status=none ;;
  esac; done; echo $i`

onOneNginx((suite) => {
  const sidecar = stack().sidecar[suite] as string
  let pair: Pair
  let repositories: string[] = []

  beforeAll(async () => {
    pair = await startPair({ name: uniqueId('damaged'), suite })
    repositories = await Promise.all(['main', 'small', 'tags'].map(() => copyOf('main')))
  })
  afterAll(() => pair.stop())

  const run = (origin: string, repository: string, options: string) =>
    cloneState(suite, origin, repository, options, pair.log)

  /** How each of them was answered; all must be as straight from upstream. */
  async function allSame(): Promise<string[]> {
    const how: string[] = []
    for (const repository of repositories) {
      for (const options of OPTIONS) {
        const direct = await run(DIRECT, repository, options)
        const cached = await run(pair.url, repository, options)
        expect([cached.code, cached.out], `${cached.how} ${logs()}`).toEqual([0, direct.out])
        how.push(cached.how)
      }
    }
    return how
  }

  async function untilAllHit(): Promise<void> {
    for (let i = 0; i < 20; i++) {
      if ((await allSame()).every((how) => how === 'hit')) return
    }
    throw new Error('not all are stored')
  }

  async function untilAllRead(): Promise<void> {
    const reads = () => pair.logged().filter(({ msg }) => msg === 'stored answers were read').length
    const before = reads()
    await pair.startSidecar()
    for (let i = 0; i < 200 && reads() === before; i++) {
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    expect(reads()).toBe(before + 1)
  }

  const hits = (how: string[]) => how.filter((one) => one === 'hit').length

  test('answers are cut, and the machine starts anew: none is served', async () => {
    await untilAllHit()
    await pair.signalSidecar('SIGKILL')
    const count = await must(sidecar, DAMAGE(`${pair.data}/packs`, 'cut'))
    expect(Number(count)).toBeGreaterThanOrEqual(9)
    await must(sidecar, `echo another > ${pair.data}/sidecar/boot`)
    await pair.startSidecar()
    expect(hits(await allSame())).toBe(0)
    await untilAllHit()
  })

  test('answers have wrong bits: the background finds each', async () => {
    await pair.signalSidecar('SIGKILL')
    await must(sidecar, DAMAGE(`${pair.data}/packs`, 'flip'))
    await untilAllRead()
    expect(hits(await allSame())).toBe(0)
    await untilAllHit()
  })

  test('mirrors are cut and have wrong bits: they are made anew', async () => {
    await pair.signalSidecar('SIGKILL')
    await must(sidecar, `rm -rf ${pair.data}/packs/*`)
    expect(Number(await must(sidecar, DAMAGE(`${pair.data}/mirrors`, 'cut flip')))).toBeGreaterThan(
      9
    )
    await must(
      sidecar,
      `for m in ${pair.data}/mirrors/*/*.git; do touch $m/packed-refs.lock $m/objects/pack/multi-pack-index.lock; done`
    )
    await pair.startSidecar()
    await allSame()
    await untilAllHit()
    const faults = pair.logged().filter(({ code }) => code === 'GITCACHE_MIRROR_DAMAGED')
    expect(faults.length).toBeGreaterThan(0)
    const locks = await must(sidecar, `find ${pair.data}/mirrors -name '*.lock'`)
    expect(locks).toBe('')
  })

  test('mirrors lose their objects while they are used: they are made anew', async () => {
    await untilAllHit()
    // Not by their inodes: a file system gives those of the removed to the next.
    const marked = () => must(sidecar, `find ${pair.data}/mirrors -name before | wc -l`)
    await must(sidecar, `for m in ${pair.data}/mirrors/*/*.git; do touch $m/before; done`)
    expect(await marked()).toBe('3')
    await must(sidecar, `rm -rf ${pair.data}/packs/* ${pair.data}/mirrors/*/*/objects/pack/*.pack`)
    await allSame()
    await untilAllHit()
    expect(await marked()).toBe('0')
  })
})
