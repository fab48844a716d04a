/** What we ask, asked of the real upload-pack, and its answers read by us. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { authorize, type Upstream, type Verdict } from '../../njs/src/git/authorize.ts'
import { writeCanonicalRequest } from '../../njs/src/git/canonical.ts'
import type { ObjectFormat } from '../../njs/src/git/fetch-request.ts'
import type { PktSource } from '../../njs/src/git/pkt-line.ts'
import { NAK } from '../../njs/src/git/probe.ts'
import { readTagState } from '../../njs/src/git/tag-state.ts'
import { git, makeRepository, oidOf, scratch, tryGit, uploadPack } from '../support/git.ts'
import { fetchOf, oid, pkts, V0, V2, v0, v2With } from '../support/wire.ts'

const work = scratch()
afterAll(work.remove)

/** `git upload-pack` as the upstream of a client that speaks this version. */
function upstreamOf(dir: string, family: 0 | 2): Upstream {
  const source = (bytes: Buffer): PktSource => bytes.toString('latin1')
  return {
    probe: async (body) => uploadPack(dir, family, body).toString('latin1'),
    lsRefs: async (body) => uploadPack(dir, 2, body).toString(),
    advertisement: async () => source(advertised(dir, '')),
    unknownOid: (digits) => '1234567890abcdef'.repeat(4).slice(0, digits),
    maxTags: () => 100,
  }
}

/** As git http-backend frames it. */
function advertised(dir: string, protocol: string): Buffer {
  const env = { GIT_PROTOCOL: protocol }
  const refs = tryGit(['upload-pack', '--stateless-rpc', '--advertise-refs', dir], '', env)
  return Buffer.concat([Buffer.from(`${pkts(['# service=git-upload-pack'])}0000`), refs.stdout])
}

/** `<oid> <name>[ <peeled>]`, as git itself lists them. */
function tagsOf(dir: string): string[] {
  const format = '%(objectname) %(refname)%(if)%(*objectname)%(then) %(*objectname)%(end)'
  return git(['--git-dir', dir, 'for-each-ref', `--format=${format}`, 'refs/tags']).split('\n')
}

/** Of the verdict's tag state, or why there are none. */
function linesOf(verdict: Verdict): string[] | string {
  if (verdict.kind !== 'yes') return verdict.kind
  const { family, format } = verdict.request
  const answer = readTagState(verdict.tags ?? '', family, { format, maxTags: 100 })
  return answer.kind === 'pass' ? answer.reason : answer.lines
}

describe.each<ObjectFormat>(['sha1', 'sha256'])('%s', (format) => {
  const dir = `${work.dir}/${format}.git`
  const want = () => `want ${oidOf(dir, 'main')}`
  const two = (...args: string[]) =>
    fetchOf(v2With(['command=fetch', `object-format=${format}`], args), V2)
  const zero = (capabilities: string, ...needs: string[]) =>
    fetchOf(v0([`${want()} side-band-64k object-format=${format} ${capabilities}`, ...needs]), V0)
  beforeAll(() => makeRepository(dir, format))

  test('a clone is given', async () => {
    const request = two(want(), 'done')
    expect(await authorize(request, upstreamOf(dir, 2))).toEqual({
      kind: 'yes',
      request,
      tags: null,
    })
  })

  test('haves that upstream knows are acknowledged, others are not', async () => {
    const known = ['main~2', 'main~6', 'main~8'].map((name) => oidOf(dir, name))
    const unknown = oidOf(dir, 'main').replace(/^./, (c) => (c === '0' ? '1' : '0'))
    const lines = [...known, unknown].map((have) => `have ${have}`)
    const verdict = await authorize(two(want(), ...lines), upstreamOf(dir, 2))
    expect(verdict).toMatchObject({ kind: 'yes', request: { haves: known } })
  })

  test.each(['done', 'no done'])('none that it knows: with %s', async (done) => {
    const have = `have ${oidOf(dir, 'main').replace(/^./, (c) => (c === '0' ? '1' : '0'))}`
    const request = done === 'done' ? two(want(), have, 'done') : two(want(), have)
    const answer = uploadPack(dir, 2, writeCanonicalRequest(request)).toString('latin1')
    expect(answer === NAK).toBe(done !== 'done')
    const verdict = await authorize(request, upstreamOf(dir, 2))
    expect(verdict).toMatchObject(
      done === 'done' ? { kind: 'yes', request: { haves: [] } } : { kind: 'nak' }
    )
  })

  test('an object that is not there is refused', async () => {
    const nothing = `want ${oid(14).padEnd(format === 'sha1' ? 40 : 64, 'e')}`
    const verdict = await authorize(two(nothing, 'done'), upstreamOf(dir, 2))
    expect(verdict).toEqual({ kind: 'pass', reason: 'refused' })
  })

  test('a shallow that upstream has pruned is left out', async () => {
    const pruned = oid(14).padEnd(format === 'sha1' ? 40 : 64, 'e')
    const kept = oidOf(dir, 'main~3')
    const request = two(want(), `shallow ${pruned}`, `shallow ${kept}`, 'deepen 2')
    const verdict = await authorize(request, upstreamOf(dir, 2))
    expect(verdict).toMatchObject({ kind: 'yes', request: { shallows: [kept] } })
  })

  test('tags are those that git lists', async () => {
    const verdict = await authorize(two(want(), 'include-tag', 'done'), upstreamOf(dir, 2))
    expect(linesOf(verdict)).toEqual(tagsOf(dir).toSorted())
  })

  test('v0: a clone is given, with the tags of the advertisement', async () => {
    const verdict = await authorize(zero('include-tag ofs-delta'), upstreamOf(dir, 0))
    expect(linesOf(verdict)).toEqual(tagsOf(dir).toSorted())
  })

  test('v1: its advertisement holds the same tags', async () => {
    const bytes = advertised(dir, 'version=1')
    expect(bytes.toString('latin1')).toContain('000eversion 1\n')
    const source = bytes.toString('latin1')
    const upstream = { ...upstreamOf(dir, 0), advertisement: async () => source }
    const verdict = await authorize(zero('include-tag'), upstream)
    expect(linesOf(verdict)).toEqual(tagsOf(dir).toSorted())
  })

  test('v0: depth and shallows', async () => {
    const kept = oidOf(dir, 'main~3')
    const request = zero('', `shallow ${kept}`, 'deepen 2')
    expect(await authorize(request, upstreamOf(dir, 0))).toMatchObject({ kind: 'yes', request })
  })

  test('an empty repository has no tags', async () => {
    const empty = `${work.dir}/empty-${format}.git`
    git(['init', '--bare', '--quiet', `--object-format=${format}`, empty])
    const bytes = advertised(empty, '')
    const source = bytes.toString('latin1')
    const upstream = { ...upstreamOf(dir, 0), advertisement: async () => source }
    const verdict = await authorize(zero('include-tag'), upstream)
    expect(linesOf(verdict)).toEqual([])
  })
})
