/** The pure core straight in Deno: parse, decide, key. `deno test --no-check test/deno` */
import { announcedSize, gunzip, gzipStored } from '../../njs/src/git/gzip.ts'
import { keyText } from '../../njs/src/git/key.ts'
import { readProbeAnswer, writeProbe } from '../../njs/src/git/probe.ts'
import { parseRepositoryPath, repositoryId } from '../../njs/src/git/repository-path.ts'
import { readLsRefsTags } from '../../njs/src/git/tag-state.ts'
import { CASES, GOLDEN, GOLDEN_SCOPE } from '../support/cases.ts'
import { decision, fetchOf, oid, pkts, V2, v2 } from '../support/wire.ts'

declare const Deno: { test(name: string, body: () => void | Promise<void>): void }

function equal(actual: unknown, expected: unknown): void {
  if (JSON.stringify(actual) !== JSON.stringify(expected)) {
    throw new Error(`${JSON.stringify(actual)} is not ${JSON.stringify(expected)}`)
  }
}

async function sha256(text: string): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text))
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, '0')).join('')
}

for (const { name, body, protocol, expected } of CASES) {
  Deno.test(`${name}: ${expected}`, () => equal(decision(body, protocol), expected))
}

for (const golden of GOLDEN) {
  Deno.test(`${golden.name} keeps its key`, async () => {
    const text = keyText(fetchOf(golden.body, golden.protocol), GOLDEN_SCOPE)
    equal(await sha256(text), golden.sha256)
  })
}

Deno.test('the probe and its answers', () => {
  const request = fetchOf(v2([`want ${oid(1)}`, `have ${oid(2)}`]), V2)
  equal(
    writeProbe(request, oid(15)).endsWith(`${pkts([`have ${oid(2)}`, `have ${oid(15)}`])}0000`),
    true
  )
  const yes = `${pkts(['acknowledgments', `ACK ${oid(2)}`])}0000`
  equal(readProbeAnswer(request, yes), { kind: 'yes', acknowledged: [oid(2)] })
  equal(readProbeAnswer(request, ''), { kind: 'no' })
})

Deno.test('the tag state', () => {
  const answer = `${pkts([`${oid(1)} refs/tags/v1 peeled:${oid(2)}`])}0000`
  const limits = { format: 'sha1', maxTags: 1 } as const
  const lines = [`${oid(1)} refs/tags/v1 ${oid(2)}`]
  equal(readLsRefsTags(answer, limits), { kind: 'tags', lines })
})

Deno.test('gzip there and back', () => {
  const content = new TextEncoder().encode(v2([`want ${oid(1)}`, 'done']))
  const stored = gzipStored(content)
  equal(announcedSize(stored), content.length)
  equal([...(gunzip(stored, 1000) ?? [])], [...content])
})

Deno.test('a repository by its path', () => {
  equal(parseRepositoryPath('/g/x.git/git-upload-pack'), '/g/x.git')
  equal(parseRepositoryPath('/g/%2e%2e/git-upload-pack'), null)
  equal(repositoryId('/g/x.git'), '/g/x')
})
