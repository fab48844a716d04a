/** How an answer of upstream is read: each byte, the first at once, and of a long one many packets as one piece. */
import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { errors } from 'undici'
import { expect, test } from 'vitest'
import { SERVICE } from '../../njs/src/git/classify.ts'
import { askUpstream, fetchFromUpstream } from '../../sidecar/src/upstream-http.ts'
import { listenForAll } from '../support/listen.ts'

let answer: (response: ServerResponse) => Promise<void> = async () => {}
const server = createServer((_, response) => {
  answer(response)
})
const port = await listenForAll(server)

async function fetched(beginWithin = 10_000) {
  const upstream = { name: 'http://test', url: `http://127.0.0.1:${port}` }
  const fetch = { body: '0000', family: 2, beginWithin, stallAfter: 10_000 } as const
  const { status, source } = await fetchFromUpstream(upstream, '/a.git', {}, fetch)
  expect(status).toBe(200)
  return source
}

/** As Apache hands on what a CGI program says. */
const PACKET = 8000

function packets(count: number): Buffer[] {
  return Array.from({ length: count }, (_, i) => Buffer.alloc(PACKET, i % 251))
}

test('a long answer comes whole, in fewer pieces than it was sent', async () => {
  const sent = packets(600)
  answer = async (response) => {
    for (const packet of sent) {
      if (!response.write(packet)) await once(response, 'drain')
      await sleep(1)
    }
    response.end()
  }
  const { stdout } = await fetched()
  const pieces: Buffer[] = []
  for await (const piece of stdout) pieces.push(piece)
  expect(Buffer.concat(pieces).equals(Buffer.concat(sent))).toBe(true)
  let begun = 0
  const late = pieces.filter((piece) => {
    begun += piece.length
    return begun > 2 * 1024 * 1024
  })
  const bytes = late.reduce((sum, { length }) => sum + length, 0)
  expect(bytes / late.length).toBeGreaterThan(1.5 * PACKET)
})

test('what has come is not kept back until more comes', async () => {
  let next = () => {}
  const before = packets(200)
  answer = async (response) => {
    for (const packet of before) response.write(packet)
    for (const packet of packets(5)) {
      response.write(packet)
      await new Promise<void>((resolve) => {
        next = resolve
      })
    }
    response.end()
  }
  const { stdout } = await fetched()
  let size = 0
  for await (const piece of stdout) {
    size += piece.length
    // Upstream says no more before this was read.
    if (size > before.length * PACKET && size % PACKET === 0) next()
  }
  expect(size).toBe((before.length + 5) * PACKET)
})

test('an answer that breaks off is an error, early or late', async () => {
  for (const count of [1, 400]) {
    answer = async (response) => {
      for (const packet of packets(count)) response.write(packet)
      await sleep(50)
      response.destroy()
    }
    const { stdout } = await fetched()
    await expect(
      (async () => {
        for await (const _ of stdout);
      })()
    ).rejects.toThrow()
  }
})

test('a head and then nothing is silence', async () => {
  answer = async (response) => {
    response.flushHeaders()
  }
  await expect(fetched(200)).rejects.toThrow(errors.HeadersTimeoutError)
})

test('an answer without a byte is one', async () => {
  answer = async (response) => void response.end()
  const pieces: Buffer[] = []
  for await (const piece of (await fetched()).stdout) pieces.push(piece)
  expect(pieces).toEqual([])
})

test('an answer that breaks off is no fault of the disk', async () => {
  answer = async (response) => {
    response.write(Buffer.alloc(PACKET))
    await sleep(20)
    response.destroy()
  }
  const { stdout } = await fetched()
  const reading = (async () => {
    for await (const _ of stdout);
  })()
  await expect(reading).rejects.toMatchObject({ reason: 'broken-off' })
})

test('a connection is kept for the next request, and a new one made where upstream had closed it', async () => {
  const used: (Socket | null)[] = []
  answer = async (response) => {
    used.push(response.socket)
    // As if the request and the end of an idle connection had crossed.
    if (used.length === 4) response.destroy()
    else response.setHeader('content-type', SERVICE.answerType).end('yes')
  }
  const upstream = askUpstream(
    { name: 'http://test', url: `http://127.0.0.1:${port}` },
    '/a.git',
    {},
    0
  )
  for (let i = 0; i < 3; i++) expect(await upstream.probe('0000')).toBe('yes')
  const { stdout } = await fetched()
  for await (const piece of stdout) expect(String(piece)).toBe('yes')
  expect(used.map((socket) => used.indexOf(socket))).toEqual([0, 0, 0, 0, 4])
})

test('an upstream that closes each connection is asked twice, and no third time', async () => {
  let asked = 0
  answer = async (response) => {
    asked += 1
    response.destroy()
  }
  await expect(fetched()).rejects.toThrow('other side closed')
  expect(asked).toBe(2)
})
