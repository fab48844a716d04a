import { expect, test } from 'vitest'
import { crashesInSubrequests } from '../../njs/src/git/njs-version.ts'

test.each([
  ['0.7.9', false],
  ['0.7.12', false],
  ['0.8.0', false],
  ['0.8.1', true],
  ['0.8.2', true],
  ['0.8.4', true],
  ['0.8.5', false],
  ['0.8.9', false],
  ['0.8.10', false],
  ['0.9.0', false],
  ['0.9.4', false],
  ['0.9.5', true],
  ['0.9.6', true],
  ['0.9.9', true],
  ['1.0.0', false],
  ['1.0.2', false],
  ['1.8.2', false],
  ['10.8.2', false],
])('njs %s crashes in subrequests: %s', (version, expected) => {
  expect(crashesInSubrequests(version)).toBe(expected)
})
