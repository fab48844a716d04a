/**
 * A disk that nginx gets EIO from, by strace(1), and an answer that is evicted just before nginx opens
 * it: what it cannot open is passed; where it cannot read on, the client is told that his is incomplete.
 */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Pair, startPair } from '../support/pair.ts'
import { cloneState, copyOf, DIRECT } from '../support/repositories.ts'
import { client, logs, must, uniqueId } from '../support/servers.ts'
import { onOneNginx } from '../support/versions.ts'

const OPTIONS = '--bare --no-tags'

const ROWS = [
  {
    name: 'it was there, and is gone when it is opened',
    fault: (file: string) => `-P ${file} -e inject=openat:error=ENOENT`,
    code: 0,
    how: 'pass; reason=store',
  },
  {
    name: 'it cannot be opened',
    fault: (file: string) => `-P ${file} -e inject=openat:error=EIO`,
    code: 0,
    how: 'pass; reason=store',
  },
  // Not by the file: strace may not see what the descriptors of another user's process are.
  { name: 'it cannot be read', fault: () => '-e inject=sendfile:error=EIO', code: 128, how: 'hit' },
]

onOneNginx((suite) => {
  let pair: Pair
  let repository = ''
  const run = (origin: string) => cloneState(suite, origin, repository, OPTIONS, pair.log)

  beforeAll(async () => {
    pair = await startPair({ name: uniqueId('disk'), suite, server: 'sendfile on;' })
    repository = await copyOf('main')
    for (let i = 0; i < 40 && (await run(pair.url)).how !== 'hit'; i++);
  })
  afterAll(() => pair.stop())

  async function restartNginx(under?: string): Promise<void> {
    await pair.signalNginx('SIGTERM')
    await must(client(suite), `while [ -e ${pair.pid} ]; do sleep 0.05; done`)
    await pair.startNginx(under)
  }

  async function sameHit(): Promise<void> {
    const direct = await run(DIRECT)
    expect(await run(pair.url), logs()).toEqual({ ...direct, how: 'hit' })
  }

  test.each(ROWS)('$name', async ({ fault, code, how }) => {
    await sameHit()
    const stored = await must(
      client(suite),
      `find ${pair.data}/packs -type f -size +0 -name '????????*'`
    )
    expect(stored.split('\n')).toHaveLength(1)
    await restartNginx(`strace -D -f -o /dev/null ${fault(stored)}`)
    const seen = await run(pair.url)
    expect(seen, logs()).toMatchObject({ code, how })
    if (code === 0) expect(seen.out).toBe((await run(DIRECT)).out)
    else expect(seen.out).toMatch(/early EOF|unexpected disconnect|RPC failed|expected flush/)
    await restartNginx()
    await sameHit()
  })
})
