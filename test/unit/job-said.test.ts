/** What is said beside an answer: who hears it, who hears that there is life, and who may attach when. */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeEach, expect, test, vi } from 'vitest'
import { Job } from '../../sidecar/src/job.ts'
import { openStore } from '../../sidecar/src/store.ts'
import { scratch } from '../support/git.ts'
import { answerOf, pkt, reader, sourceOf } from '../support/job.ts'
import { prepareLayout } from '../support/layout.ts'

const work = scratch()
afterAll(work.remove)
beforeEach(() => void vi.useFakeTimers({ toFake: ['Date'] }))
afterEach(() => void vi.useRealTimers())

const store = openStore(prepareLayout(work.dir))
const ALIVE = '0005\x01'
const ANSWER = answerOf(2, 100).toString('latin1')
const SECTION = ANSWER.slice(0, 13)
const PACK = ANSWER.slice(13)

function progress(text: string): string {
  return pkt(2, Buffer.from(text)).toString('latin1')
}

/** An answer whose pieces come a second apart, and what two clients were sent: with progress, without. */
async function heard(pieces: string[]): Promise<{ all: string; quiet: string }> {
  const job = new Job(2, await store.create('/a'), false)
  async function* source() {
    for (const piece of pieces) {
      yield Buffer.from(piece, 'latin1')
      await sleep(5)
      vi.setSystemTime(Date.now() + 1000)
    }
  }
  const [all, quiet] = [reader(0), reader(0)]
  const sending = [
    job.send(all.response, { progress: true, first: true }),
    job.send(quiet.response, { progress: false, first: true }),
  ]
  await job.record(sourceOf(source()))
  await Promise.all(sending)
  job.retire()
  return { all: all.bytes().toString('latin1'), quiet: quiet.bytes().toString('latin1') }
}

test('who asked for no progress hears every five seconds that there is life', async () => {
  const counting = Array.from({ length: 12 }, (_, i) => progress(`Counting ${i}\r`))
  const { all, quiet } = await heard([SECTION, ...counting, PACK])
  expect(all).toBe(SECTION + counting.join('') + PACK)
  expect(quiet).toBe(SECTION + ALIVE + ALIVE + PACK)
})

test('progress without end is signs of life from some length on', async () => {
  const long = progress('x'.repeat(60_000))
  const { all, quiet } = await heard([SECTION, ...Array(16).fill(long), PACK])
  expect(all).toBe(SECTION + long.repeat(4) + ALIVE + ALIVE + PACK)
  expect(quiet).toBe(SECTION + ALIVE.repeat(quiet.split(ALIVE).length - 1) + PACK)
  expect(quiet).toContain(ALIVE + ALIVE)
})

/** An answer of upstream to alice, which bob joins; both asked for progress. */
async function heardByTwo(pieces: string[]) {
  const job = new Job(2, await store.create('/a'), true)
  async function* source() {
    for (const piece of pieces) yield Buffer.from(piece, 'latin1')
  }
  const [alice, bob] = [reader(0), reader(0)]
  const sending = [
    job.send(alice.response, { progress: true, first: true }),
    job.send(bob.response, { progress: true, first: false }),
  ]
  const recorded = job.record(sourceOf(source())).then(
    () => true,
    () => false
  )
  await Promise.all([recorded, ...sending])
  job.retire()
  const seen = ({ response, bytes }: typeof alice) => ({
    text: bytes().toString('latin1'),
    ended: response.writableEnded,
  })
  return { whole: await recorded, alice: seen(alice), bob: seen(bob) }
}

test('who joins an answer of upstream hears what git says, and no words to the first client', async () => {
  const counting = progress('Counting objects:  50% (1/2)\rCounting objects: 100% (2/2), done.\n')
  const sum = progress('Total 2 (delta 0), reused 1 (delta 0), pack-reused 0 (from 0)\n')
  const personal = [
    progress('hello alice, your token ends tomorrow\n'),
    progress('Counting objects: 1, done.\nhello alice\n'),
    progress('Counting objects: alice\n'),
    progress(`${'\n'.repeat(20_000)}alice`),
    progress(`Counting objects: ${' '.repeat(20_000)}alice\n`),
    progress('Total 1 (delta 0), reused 0 (delta 0) alice\n'),
  ]
  expect(await heardByTwo([SECTION, counting, ...personal, sum, PACK])).toEqual({
    whole: true,
    alice: { text: SECTION + counting + personal.join('') + sum + PACK, ended: true },
    bob: { text: SECTION + counting + sum + PACK, ended: true },
  })
})

test("and not the first client's error either: he is cut off", async () => {
  const error = pkt(3, Buffer.from('alice has no quota left')).toString('latin1')
  const begun = ANSWER.slice(0, -4)
  expect(await heardByTwo([begun, error])).toEqual({
    whole: false,
    alice: { text: begun + error, ended: true },
    bob: { text: begun, ended: false },
  })
})

test('nobody attaches before the first byte of the pack', async () => {
  const job = new Job(2, await store.create('/a'), true)
  const said: string[] = []
  async function* source() {
    for (const piece of [SECTION, progress('Counting\r'), ALIVE]) {
      yield Buffer.from(piece, 'latin1')
      await sleep(5)
    }
    said.push('nearly')
    yield Buffer.from(PACK, 'latin1')
  }
  const attached = job.committed(Number.POSITIVE_INFINITY).then(() => said.push('attached'))
  await job.record(sourceOf(source()))
  await attached
  job.retire()
  expect(said).toEqual(['nearly', 'attached'])
})

test("upstream's error without end is not kept without end", async () => {
  const job = new Job(2, await store.create('/a'), true)
  let said = 0
  async function* source() {
    yield Buffer.from(SECTION, 'latin1')
    for (said = 0; said < 1000; said++) yield pkt(3, Buffer.alloc(60_000))
  }
  await expect(job.record(sourceOf(source()))).rejects.toThrow('not-ready')
  expect(said).toBeLessThan(10)
  job.retire()
})
