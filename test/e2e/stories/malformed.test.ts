/**
 * Whatever comes over the wire: no worker of nginx dies of it, no log is flooded, nobody else's clone
 * suffers, and damaged pkt-lines get the answer that upstream itself gives to the same bytes.
 */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { again, cases, PATIENCE, seed } from '../../support/fuzz.ts'
import { git, scratch } from '../../support/git.ts'
import { anyMutations, mutated } from '../../support/mutations.ts'
import { objectsIn, readAnswer } from '../../support/pack.ts'
import { docker } from '../support/docker.ts'
import { type Odd, oddConversations } from '../support/odd-http.ts'
import { type Address, addressOf, converse, type Heard, responsesIn } from '../support/raw.ts'
import { cacheOf, makeRepository, oidOf, warmUp } from '../support/repositories.ts'
import { client, linesOf, must, results, stack, uniqueId } from '../support/servers.ts'
import { onEachNginx } from '../support/versions.ts'
import { fetchV0, fetchV2 } from '../support/wire.ts'

/** Of each of the two tests, for each nginx: 150 of the 10,000 of `npm test`. */
const COUNT = Math.ceil(cases() * 0.015)
/** Conversations at the same time. */
const TOGETHER = 6
/** Milliseconds of silence: for an answer that has to come, and for one that nobody can expect. */
const LONG = 20_000
const SHORT = 700
/** Lines that a case may add to the error log, on average and at the level `info`; seen: 0.4. */
const LINES_PER_CASE = 1

/** What njs says where nginx's gunzip filter meets a body that only says it is gzip. */
const NOT_GZIP = 'Error: failed to send response'
/** Of what is wrong, in a failure's message. */
const SHOWN = 8

const work = scratch()
const target = path.join(work.dir, 'target.git')
let repository = ''
let tips: string[] = []
let upstream: Address

beforeAll(async () => {
  git(['init', '--bare', '--quiet', target])
  repository = await makeRepository(
    'malformed',
    'commit main one; commit main two; commit main three; git tag -a -m v1 v1 main~1'
  )
  tips = [await oidOf(repository, 'main'), await oidOf(repository, 'main~1')]
  upstream = await addressOf(stack().upstream, 80)
})

afterAll(work.remove)

async function together<T>(items: T[], each: (item: T, i: number) => Promise<void>): Promise<void> {
  const rest = [...items.entries()]
  const run = async () => {
    for (let next = rest.shift(); next !== undefined; next = rest.shift()) {
      await each(next[1], next[0])
    }
  }
  await Promise.all(Array.from({ length: TOGETHER }, run))
}

const service = () => `/pub/${repository}/git-upload-pack`

interface Said {
  status: number
  type: string | undefined
  lines: string[]
  objects: string[] | null
}

/** What the first answer means: text as it is, and for a pack the objects that are in it. */
function meaning(heard: Heard): Said {
  const [answer] = responsesIn(heard) ?? []
  if (answer === undefined || !answer.whole) {
    return { status: 0, type: undefined, lines: [heard.bytes.toString('latin1')], objects: null }
  }
  return meaningOf(answer)
}

function meaningOf(answer: NonNullable<ReturnType<typeof responsesIn>>[number]): Said {
  const { status, body } = answer
  const type = answer.headers['content-type']
  if (type !== 'application/x-git-upload-pack-result') {
    return { status, type, lines: [body.toString('latin1')], objects: null }
  }
  const { lines, pack } = partsOf(body)
  const store = path.join(stack().dir, 'repos', repository, 'objects')
  return { status, type, lines, objects: pack === null ? null : objectsIn(pack, target, store) }
}

/** A request that has lost its side-band gets the pack as it is, behind the packets. */
function partsOf(body: Buffer): ReturnType<typeof readAnswer> {
  try {
    return readAnswer(body)
  } catch {
    const at = body.indexOf('PACK')
    const end = at < 0 ? body.length : at
    const lines = [body.toString('latin1', 0, end)]
    return { lines, pack: at < 0 ? null : body.subarray(at) }
  }
}

function count(counts: Record<string, number>, name: string): void {
  counts[name] = (counts[name] ?? 0) + 1
}

onEachNginx((suite) => {
  let nginx: Address
  /** Our side of the connections, as nginx's log calls it. */
  let self = ''
  let before: string[] = []
  let logged = 0
  let held = 0

  const log = () => path.join(stack().dir, 'log', `nginx-${suite}-main-error.log`)

  async function processes(): Promise<string[]> {
    const workers = await must(client(suite), 'pgrep -P "$(cat /run/nginx-main.pid)" | sort')
    const sidecar = await docker(['inspect', '-f', '{{.State.Pid}}', stack().sidecar[suite] ?? ''])
    return [...workers.split('\n'), `sidecar ${sidecar}`]
  }

  beforeAll(async () => {
    nginx = await addressOf(client(suite), 8080)
    await warmUp(suite, `/pub/${repository}`)
    const body = Buffer.from(clone())
    // The story's own request, warm as well.
    for (let i = 0; i < 100; i++) {
      const heard = await converse(nginx, { pieces: [request(body)], end: 'wait', patience: LONG })
      self = heard.from.replace('::ffff:', '')
      if (responsesIn(heard)?.[0]?.headers['x-git-cache'] === 'hit') break
      await sleep(100)
    }
    before = await processes()
    linesOf(`nginx-${suite}.log`)
    logged = readFileSync(log()).length
  })

  const clone = () => fetchV2('ofs-delta', 'no-progress', `want ${tips[0]}`, 'done')

  function request(body: Buffer, headers: string[] = [], protocol = 'version=2'): Buffer {
    const lines = [
      `POST ${service()} HTTP/1.1`,
      'Host: cache',
      'Connection: close',
      'Content-Type: application/x-git-upload-pack-request',
      'Accept: application/x-git-upload-pack-result',
      `Content-Length: ${body.length}`,
      ...(protocol === '' ? [] : [`Git-Protocol: ${protocol}`]),
      ...headers,
    ]
    return Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`), body])
  }

  test(
    'HTTP that is none, or odd',
    async () => {
      const body = Buffer.from(clone())
      const reference = meaning(
        await converse(upstream, { pieces: [request(body)], end: 'wait', patience: LONG })
      )
      expect(reference.objects?.length).toBeGreaterThan(0)
      const statuses: Record<string, number> = {}
      const wrong: string[] = []
      const conversations = oddConversations({ path: service(), body }, COUNT, seed())
      await together(conversations, async (odd, i) => {
        const heard = await converse(nginx, { ...odd, patience: odd.sound > 0 ? LONG : SHORT })
        const answers = responsesIn(heard)
        count(statuses, answers === null ? 'not HTTP' : String(answers[0]?.status ?? 'no answer'))
        const problem = problemOf(odd, heard, reference)
        if (problem !== '') wrong.push(`${i}, ${odd.kind}: ${problem}: ${shown(odd)}`)
      })
      held += COUNT
      console.log(`${suite}: ${COUNT} odd conversations, ${JSON.stringify(statuses)}`)
      expect(wrong.slice(0, SHOWN), `${wrong.length} wrong; ${again()}`).toEqual([])
    },
    PATIENCE
  )

  /** Empty where nothing is wrong with the answers. */
  function problemOf(odd: Odd, heard: Heard, reference: Said): string {
    const answers = responsesIn(heard)
    if (answers === null) {
      // To a request line without a version nginx says the text alone, as HTTP/0.9 has it.
      const versioned = /^[^\r\n]* HTTP\/\d/.test(Buffer.concat(odd.pieces).toString('latin1'))
      return versioned ? `no HTTP: ${heard.bytes.toString('latin1', 0, 200)}` : ''
    }
    if (answers.some(({ headers }) => /reason=error/.test(headers['x-git-cache'] ?? ''))) {
      return 'an exception in njs'
    }
    if (odd.sound === 0) return ''
    if (answers.length !== odd.sound) return `${answers.length} answers`
    const other = answers.find(
      (answer) => JSON.stringify(meaningOf(answer)) !== JSON.stringify(reference)
    )
    return other === undefined
      ? ''
      : `another answer: ${JSON.stringify(meaningOf(other)).slice(0, 300)}`
  }

  function shown({ pieces }: Odd): string {
    return Buffer.concat(pieces).subarray(0, 600).toString('base64')
  }

  test(
    'damaged pkt-lines',
    async () => {
      const [main, old] = tips
      const bases = [
        { protocol: 'version=2', body: clone() },
        {
          protocol: 'version=2',
          body: fetchV2('thin-pack', `want ${main}`, `have ${old}`, 'done'),
        },
        { protocol: 'version=2', body: fetchV2('ofs-delta', `want ${main}`, `have ${old}`) },
        { protocol: 'version=2', body: fetchV2('include-tag', `want ${old}`, 'deepen 1', 'done') },
        { protocol: 'version=2', body: fetchV2('filter blob:none', `want ${main}`, 'done') },
        { protocol: '', body: fetchV0(`want ${main}`) },
        { protocol: 'version=1', body: fetchV0(`want ${main}`, `want ${old}`) },
      ]
      const anyCase = fc.record({
        base: fc.constantFrom(...bases),
        mutations: anyMutations,
        gzip: fc.integer({ min: 0, max: 3 }).map((n) => n === 0),
        odd: fc.option(fc.constantFrom('version=2', '', 'version=2:version=1'), { freq: 9 }),
      })
      const how: Record<string, number> = {}
      const wrong: string[] = []
      let packs = 0
      await together(fc.sample(anyCase, { numRuns: COUNT, seed: seed() }), async (one, i) => {
        const plain = mutated(Buffer.from(one.base.body), one.mutations)
        const body = one.gzip ? gzipSync(plain) : plain
        const encoding = one.gzip ? ['Content-Encoding: gzip'] : []
        const protocol = one.odd ?? one.base.protocol
        const pieces = [request(body, encoding, protocol)]
        const ask = (address: Address) => converse(address, { pieces, end: 'wait', patience: LONG })
        const cached = await ask(nginx)
        const [expected, actual] = [meaning(await ask(upstream)), meaning(cached)]
        count(how, responsesIn(cached)?.[0]?.headers['x-git-cache'] ?? 'no answer')
        packs += expected.objects === null ? 0 : 1
        if (JSON.stringify(actual) === JSON.stringify(expected)) return
        const said = [actual, expected].map((answer) => JSON.stringify(answer))
        wrong.push(`${i}, ${protocol}, ${plain.toString('base64')}: ${said.join(' and not ')}`)
      })
      held += COUNT
      console.log(`${suite}: ${COUNT} damaged requests, ${packs} packs, ${JSON.stringify(how)}`)
      expect(wrong.slice(0, SHOWN), `${wrong.length} wrong; ${again()}`).toEqual([])
      expect(how['pass; reason=error'] ?? 0).toBe(0)
      expect(packs).toBeGreaterThan(0)
      expect(how.hit ?? 0).toBeGreaterThan(0)
    },
    PATIENCE
  )

  test('no process died, and the log tells it in few words', async () => {
    // What was given up is logged when its connection is closed.
    await sleep(500)
    linesOf(`nginx-${suite}.log`)
    const lines = readFileSync(log()).subarray(logged).toString('latin1').split('\n')
    // A trace of njs goes over lines that name nobody; what names another client is another story's.
    const ours = lines.filter((line) => !/client: /.test(line) || line.includes(`client: ${self},`))
    console.log(`${suite}: ${held} cases, ${ours.length} lines in the error log`)
    expect(held).toBe(2 * COUNT)
    expect(ours.length).toBeGreaterThan(0)
    expect(ours.length).toBeLessThanOrEqual(held * LINES_PER_CASE)
    expect(lines.filter((line) => /\[(alert|emerg|crit)\]|exited on|signal 11/.test(line))).toEqual(
      []
    )
    const thrown = ours.filter((line) => /js exception|gitcache: /.test(line))
    expect(thrown.filter((line) => !line.includes(NOT_GZIP))).toEqual([])
    expect(await processes()).toEqual(before)
  })

  test('the next clone is a hit', async () => {
    const id = uniqueId('after')
    const dir = `/w/work/${id}`
    await must(
      client(suite),
      `git -c http.extraHeader=X-Test:${id} clone -q --bare ${cacheOf(suite)}/pub/${repository} ${dir} && git -C ${dir} fsck --full; code=$?; rm -rf ${dir}; exit $code`
    )
    expect(results(suite, id)).toEqual(['hit'])
  })
})
