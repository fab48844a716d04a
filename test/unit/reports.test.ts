/** nginx's reports come by UDP, which anybody on the machine can send: what they may do, and what not. */
import { createSocket } from 'node:dgram'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createMetrics } from '../../sidecar/src/metrics.ts'
import { type Reports, startReports } from '../../sidecar/src/reports.ts'

const KEY = 'ab'.repeat(32)
const LAST = 'cd'.repeat(32)
const metrics = createMetrics({ git: '' })
const used: string[] = []
const suspected: string[] = []
const client = createSocket('udp4')
let reports: Reports
let port = 0

beforeAll(async () => {
  const probe = createSocket('udp4')
  await new Promise<void>((resolve) => probe.bind(0, '127.0.0.1', resolve))
  port = probe.address().port
  await new Promise<void>((resolve) => probe.close(() => resolve()))
  const budget = { used: (key: string) => void used.push(key) }
  const parts = { metrics, budget, suspect: (key: string) => void suspected.push(key) }
  reports = await startReports(`127.0.0.1:${port}`, parts)
})
afterAll(() => {
  client.close()
  reports.close()
})

const line = (text: string) => `<190>Jan  1 00:00:00 gitcache: ${text}`

/** Sends them in order; resolves when the last has been read. */
async function report(...datagrams: string[]): Promise<void> {
  used.length = 0
  suspected.length = 0
  for (const text of [...datagrams, line(`hit\t1\t0.1\tOK\t/packs/cd/${LAST}`)]) {
    await new Promise((resolve) => client.send(text, port, '127.0.0.1', resolve))
  }
  for (let i = 0; i < 500 && used.at(-1) !== LAST; i++) await sleep(10)
  expect(used.pop()).toBe(LAST)
}

test('a hit is used; one that nginx could not send whole is looked at', async () => {
  await report(
    line(`hit\t100\t0.1\tOK\t/packs/ab/${KEY}`),
    line(`hit\t7\t0.1\t-\t/packs/ab/${KEY}`)
  )
  expect(used).toEqual([KEY, KEY])
  expect(suspected).toEqual([KEY])
})

test('one that nginx could not open is looked at, and was not used', async () => {
  await report(line(`pass; reason=store\t581\t0.1\tOK\t/packs/ab/${KEY}`))
  expect({ used, suspected }).toEqual({ used: [], suspected: [KEY] })
})

test.each([
  ['a name that climbs', `hit\t1\t0.1\t-\t/packs/../../etc/passwd`],
  ['a key and more', `hit\t1\t0.1\t-\t/packs/ab/${KEY}/../../../etc/passwd`],
  ['a key in upper case', `hit\t1\t0.1\t-\t/packs/ab/${KEY.toUpperCase()}`],
  ['a key that is too short', `hit\t1\t0.1\t-\t/packs/ab/${KEY.slice(1)}x`],
  ['a pass that names a file', `pass; reason=path\t1\t0.1\t-\t/packs/ab/${KEY}`],
  ['a completion that is none', `hit\t1\t0.1\tMAYBE\t/packs/ab/${KEY}`],
  ['no report at all', 'GET / HTTP/1.1'],
])('%s touches no answer', async (_, text) => {
  await report(line(text))
  expect({ used, suspected }).toEqual({ used: [], suspected: [] })
})

test('each result is counted, with its bytes and its time, as nginx writes it', async () => {
  const counts = async () => {
    const text = await metrics.registry.metrics()
    return (name: string) =>
      Number(
        text
          .split('\n')
          .find((row) => row.startsWith(name))
          ?.slice(name.length)
      )
  }
  const before = await counts()
  await report(
    line('miss\t1912\t0.123\tOK\t'),
    line('join\t1912\t0.123\tOK\t\n'),
    line('nak\t32\t0.010\tOK\t'),
    line('pass; reason=ls-refs\t581\t0.025\t-\t')
  )
  const after = await counts()
  const more = (name: string) => after(name) - before(name)
  for (const result of ['miss', 'join', 'nak', 'pass']) {
    expect(more(`gitcache_requests_total{result="${result}"} `)).toBe(1)
    expect(after(`gitcache_request_duration_seconds_count{result="${result}"} `)).toBeGreaterThan(0)
  }
  expect(more('gitcache_pass_total{reason="ls-refs"} ')).toBe(1)
  expect(more('gitcache_response_bytes_total{source="upstream"} ')).toBe(32 + 581)
  // Both answers, and the hit that report() ends with.
  expect(more('gitcache_response_bytes_total{source="cache"} ')).toBe(2 * 1912 + 1)
})

test('what nobody knows makes no label', async () => {
  const labels = async () =>
    (await metrics.registry.metrics())
      .split('\n')
      .filter((text) => text.startsWith('gitcache_'))
      .map((text) => text.replace(/ \S+$/, ''))
  await report(line('hit\t1\t0.1\tOK\t'), line('pass; reason=path\t1\t0.1\tOK\t'))
  const before = await labels()
  await report(
    line('visited\t1\t0.1\tOK\t'),
    line('pass; reason=never-heard-of\t1\t0.1\tOK\t'),
    line('hit; reason=path; x=y\t1\t0.1\tOK\t')
  )
  expect(await labels()).toEqual(before)
})
