/** When an upstream is left alone, and for how long. */
import { expect, test } from 'vitest'
import { holdName, secondsToHold } from '../../njs/src/git/retry-after.ts'

test.each([
  [429, '7', 7],
  [503, '30', 30],
  [503, '86400', 60],
  [503, '', 0],
  [429, 'Wed, 21 Oct 2026 07:28:00 GMT', 0],
  [429, '-5', 0],
  [429, '1e9', 0],
  [500, '7', 0],
  [200, '7', 0],
])('%i with Retry-After %j: %i seconds', (status, retryAfter, seconds) => {
  expect(secondsToHold(status, retryAfter)).toBe(seconds)
})

test('the name of an upstream becomes the name of a file', () => {
  expect(holdName('https://git.example.org:8443')).toBe('hold-https%3A%2F%2Fgit.example.org%3A8443')
  expect(holdName('http://../../etc')).not.toContain('/')
})
