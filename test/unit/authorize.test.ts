/** The conversation with upstream, told against an upstream of our own. */
import { describe, expect, test } from 'vitest'
import { authorize, type Upstream } from '../../njs/src/git/authorize.ts'
import { pktLine } from '../../njs/src/git/pkt-line.ts'
import { FLUSH, fetchOf, oid, pkts, V0, V2, v0, v2 } from '../support/wire.ts'

const W = `want ${oid(1)}`
const YES = pkts(['acknowledgments', 'NAK']) + FLUSH
const TAG = `${oid(7)} refs/tags/v1`
const ADVERTISED = `${pkts(['# service=git-upload-pack'])}${FLUSH}${pkts([TAG])}${FLUSH}`

function notOurRef(digit: number): string {
  return pktLine(`ERR upload-pack: not our ref ${oid(digit)}`)
}

interface Asked extends Upstream {
  probes: string[]
  lsRefsBodies: string[]
  advertisements: number
}

/** Gives these answers to probes, one after the other; the last one for good. */
function upstream(
  answers: (string | number | null)[],
  tags: string | null = pkts([TAG]) + FLUSH
): Asked {
  const asked: Asked = {
    probes: [],
    lsRefsBodies: [],
    advertisements: 0,
    probe: async (body) => {
      asked.probes.push(body)
      return answers[Math.min(asked.probes.length, answers.length) - 1] ?? null
    },
    lsRefs: async (body) => {
      asked.lsRefsBodies.push(body)
      return tags
    },
    advertisement: async () => {
      asked.advertisements += 1
      return tags === null ? null : ADVERTISED
    },
    unknownOid: (digits) => asked.probes.length.toString(16).padStart(digits, 'f'),
    maxTags: () => 10,
  }
  return asked
}

const two = (...args: string[]) => fetchOf(v2(args), V2)
const pass = (reason: string) => ({ kind: 'pass', reason })

describe('without haves', () => {
  test('yes gives the request as it is', async () => {
    const request = two(W, 'done')
    expect(await authorize(request, upstream([YES]))).toEqual({ kind: 'yes', request, tags: null })
  })

  test.each<[what: string, answer: string | number | null, reason: string]>([
    ['no answer', 504, 'no-answer'],
    ['a 200 that cannot be read', null, 'refused'],
    ['too many requests', 429, 'overloaded'],
    ['a failure of the server', 502, 'no-answer'],
    ['a redirect', 302, 'refused'],
    ['a 401', 401, 'refused'],
    ['a 404', 404, 'refused'],
    ['an empty answer', '', 'refused'],
    ['an error', pktLine('ERR access denied'), 'refused'],
    ['a refused want', notOurRef(1), 'refused'],
    ['a login page', '<html>', 'refused'],
    ['a pack', `${pkts(['packfile'])}0000`, 'refused'],
  ])('%s passes', async (_, answer, reason) => {
    const asked = upstream([answer])
    expect(await authorize(two(W, 'done'), asked)).toEqual(pass(reason))
    expect(asked.probes.length).toBe(1)
  })
})

describe('with haves', () => {
  const request = two(W, `have ${oid(2)}`, `have ${oid(3)}`)
  const done = two(W, `have ${oid(2)}`, 'done')

  test('only what upstream acknowledged is left', async () => {
    const answer = pkts(['acknowledgments', `ACK ${oid(3)}`]) + FLUSH
    const verdict = await authorize(request, upstream([answer]))
    expect(verdict).toEqual({ kind: 'yes', request: { ...request, haves: [oid(3)] }, tags: null })
  })

  test('none in common is an answer where the client waits for acknowledgments', async () => {
    expect(await authorize(request, upstream([YES]))).toEqual({ kind: 'nak' })
  })

  test('none in common is a clone where the client is done', async () => {
    const verdict = await authorize(done, upstream([YES]))
    expect(verdict).toEqual({ kind: 'yes', request: { ...done, haves: [] }, tags: null })
  })

  test('a server without wait-for-done dies of it: an empty 200', async () => {
    expect(await authorize(request, upstream(['']))).toEqual(pass('haves-unprobed'))
  })

  test('ready passes', async () => {
    const answer = pkts(['acknowledgments', `ACK ${oid(3)}`, 'ready']) + FLUSH
    expect(await authorize(request, upstream([answer]))).toEqual(pass('refused'))
  })
})

describe('shallows that upstream has pruned', () => {
  const shallows = [2, 3, 4, 5, 6].map((digit) => `shallow ${oid(digit)}`)
  const request = two(W, ...shallows, 'deepen 1')

  test('one is left out of the second probe and of the answer', async () => {
    const asked = upstream([notOurRef(4), YES])
    const verdict = await authorize(request, asked)
    const left = [2, 3, 5, 6].map(oid)
    expect(verdict).toEqual({ kind: 'yes', request: { ...request, shallows: left }, tags: null })
    expect(asked.probes[0]).toContain(oid(4))
    expect(asked.probes[1]).not.toContain(oid(4))
  })

  test('three retries, each with another unknown have', async () => {
    const asked = upstream([notOurRef(2), notOurRef(3), notOurRef(4), YES])
    expect(await authorize(request, asked)).toMatchObject({
      kind: 'yes',
      request: { shallows: [oid(5), oid(6)] },
    })
    expect(new Set(asked.probes.map((body) => body.slice(-44))).size).toBe(4)
  })

  test('not a fourth', async () => {
    const asked = upstream([2, 3, 4, 5].map(notOurRef).concat(YES))
    expect(await authorize(request, asked)).toEqual(pass('refused'))
    expect(asked.probes.length).toBe(4)
  })

  test('the request that was given in is left as it is', async () => {
    const before = structuredClone(request)
    await authorize(request, upstream([notOurRef(2), YES]))
    expect(request).toEqual(before)
  })

  test.each([
    ['a shallow that is wanted too', [W, `shallow ${oid(1)}`], 1],
    ['an id that nobody named', [W, `shallow ${oid(2)}`], 9],
    ['a want beside shallows', [W, `shallow ${oid(2)}`], 1],
  ])('%s is refused at once', async (_, args, digit) => {
    const asked = upstream([notOurRef(digit), YES])
    expect(await authorize(two(...args), asked)).toEqual(pass('refused'))
    expect(asked.probes.length).toBe(1)
  })

  test('v0 is refused at once', async () => {
    const zero = fetchOf(v0([`${W} side-band-64k`, `shallow ${oid(2)}`, 'deepen 1']), V0)
    const asked = upstream([notOurRef(2), pkts(['NAK'])])
    expect(await authorize(zero, asked)).toEqual(pass('refused'))
    expect(asked.probes.length).toBe(1)
  })
})

describe('tags', () => {
  const request = two(W, 'include-tag', 'done')
  const zero = fetchOf(v0([`${W} side-band-64k include-tag`]), V0)

  test('v2 asks ls-refs', async () => {
    const asked = upstream([YES])
    const tags = pkts([TAG]) + FLUSH
    expect(await authorize(request, asked)).toEqual({ kind: 'yes', request, tags })
    const body = `${pkts(['command=ls-refs'])}0001${pkts(['peel', 'ref-prefix refs/tags/'])}0000`
    expect(asked).toMatchObject({ lsRefsBodies: [body], advertisements: 0 })
  })

  test('v0 asks for the advertisement', async () => {
    const asked = upstream([pkts(['NAK'])])
    const verdict = await authorize(zero, asked)
    expect(verdict).toEqual({ kind: 'yes', request: zero, tags: TAG })
    expect(asked).toMatchObject({ lsRefsBodies: [], advertisements: 1 })
  })

  test('are asked for while the probe is under way', async () => {
    const order: string[] = []
    const asked = upstream([YES])
    await authorize(request, {
      ...asked,
      probe: async (body) => {
        order.push('probe')
        const answer = await asked.probe(body)
        await new Promise((resolve) => setTimeout(resolve, 5))
        order.push('probed')
        return answer
      },
      lsRefs: async (body) => {
        order.push('tags')
        return asked.lsRefs(body)
      },
    })
    expect(order).toEqual(['probe', 'tags', 'probed'])
  })

  test('are not asked for without include-tag', async () => {
    const asked = upstream([YES])
    await authorize(two(W, 'done'), asked)
    expect(asked).toMatchObject({ lsRefsBodies: [], advertisements: 0 })
  })

  test('no answer passes', async () => {
    expect(await authorize(request, upstream([YES], null))).toEqual(pass('tag-state'))
  })

  test('a refused probe counts before them', async () => {
    expect(await authorize(request, upstream([notOurRef(1)], null))).toEqual(pass('refused'))
  })

  test('v0 without an advertisement passes', async () => {
    const asked = upstream([pkts(['NAK'])], null)
    expect(await authorize(zero, asked)).toEqual(pass('tag-state'))
  })
})
