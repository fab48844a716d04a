/** What is read at once is what is read packet by packet. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { readPlainFetch } from '../../njs/src/git/plain-fetch.ts'
import { parseFetchRequest } from '../../njs/src/git/protocol-v2.ts'
import { anyGitForm, anyNoise, anyRequest, clientForm } from '../support/arbitraries.ts'
import { fixture, fixtureNames } from '../support/fixtures.ts'
import { runs } from '../support/fuzz.ts'
import { anyInput, anyMutations, mutated } from '../support/mutations.ts'

const slow = (body: string) => parseFetchRequest(body, Number.POSITIVE_INFINITY)

test('a request of git is read at once, to the same', () => {
  fc.assert(
    fc.property(anyGitForm, ({ form, agent }) => {
      const plain = readPlainFetch(form)
      // An agent that looks like packets may be read in another way first; then it is not plain.
      if (plain !== null || !/0001|0016object/.test(agent)) {
        expect({ kind: 'fetch', request: plain }).toEqual(slow(form))
      }
    }),
    runs()
  )
})

test('whatever is read at once is read so packet by packet', () => {
  const anyForm = fc.oneof(
    anyGitForm.map(({ form }) => form),
    fc
      .tuple(anyGitForm, anyMutations)
      .map(([{ form }, mutations]) => mutated(Buffer.from(form), mutations).toString('latin1')),
    fc.tuple(anyRequest(2, 'sha1'), anyNoise).map(([request, noise]) => clientForm(request, noise)),
    anyInput.map((bytes) => bytes.toString('latin1'))
  )
  fc.assert(
    fc.property(anyForm, (body) => {
      const plain = readPlainFetch(body)
      if (plain !== null) expect(slow(body)).toEqual({ kind: 'fetch', request: plain })
    }),
    runs()
  )
})

test('what git sends is plain, but for the lines that need a closer look', () => {
  const sent = fixtureNames().filter((name) => /^v2-.*\.bin$/.test(name))
  const plain = sent.filter((name) => readPlainFetch(fixture(name).toString('latin1')) !== null)
  expect(plain.sort()).toEqual([
    'v2-blob-none.bin',
    'v2-by-sha.bin',
    'v2-depth-1.bin',
    'v2-full-clone.bin',
    'v2-incremental.bin',
    'v2-lazy-fetch.bin',
    'v2-shallow-fetch.bin',
    'v2-single-branch.bin',
  ])
})
