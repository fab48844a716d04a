/** Out of file descriptors: what the sidecar cannot do is passed, and no git operation fails. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Pair, startPair } from '../support/pair.ts'
import { chosen, copyOf, DIRECT } from '../support/repositories.ts'
import { client, logs, must, results, uniqueId } from '../support/servers.ts'

const CLIENTS = 20

describe.each(chosen().slice(0, 1))('nginx of %s', (suite) => {
  let pair: Pair
  beforeAll(async () => {
    pair = await startPair({ name: uniqueId('starved'), suite, before: 'ulimit -n 45;' })
  })
  afterAll(() => pair.stop())

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

  test('many clients at once, cold and with a mirror', async () => {
    const repository = await copyOf('main')
    const direct = await clones(DIRECT, repository)
    const answered: string[] = []
    for (let i = 0; i < 2; i++) {
      const cached = await clones(pair.url, repository)
      expect(cached.out, logs()).toBe(direct.out)
      answered.push(...results(suite, cached.id, pair.log))
    }
    // It was starved, and it was not of no use.
    expect(answered.some((how) => /^pass; reason=/.test(how))).toBe(true)
    expect(answered.some((how) => /^(hit|miss|join)$/.test(how))).toBe(true)
  })

  test('when it is over, it works', async () => {
    const repository = await copyOf('small')
    const how: string[] = []
    // Answers that were just made are held open for a minute where somebody was told of them.
    for (let i = 0; i < 90 && how.at(-1) !== 'hit'; i++) {
      await new Promise((resolve) => setTimeout(resolve, 1000))
      const id = uniqueId('after')
      await must(
        client(suite),
        `git -c http.extraHeader=X-Test:${id} clone -q --bare ${pair.url}/pub/${repository} /w/work/${id}; code=$?; rm -rf /w/work/${id}; exit $code`
      )
      how.push(results(suite, id, pair.log).join())
    }
    expect(how.at(-1)).toBe('hit')
  })
})
