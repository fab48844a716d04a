import { expect, test } from 'vitest'
import { parseFilterSpec } from '../../njs/src/git/filter-spec.ts'

test.each([
  'blob:none',
  'blob:limit=0',
  'blob:limit=1k',
  'blob:limit=10m',
  'blob:limit=2g',
  'tree:0',
  'tree:12',
  'object:type=blob',
  'object:type=tree',
  'object:type=commit',
  'object:type=tag',
  'combine:blob:none',
  'combine:blob:none+tree:0',
  'combine:blob:limit=1k+tree:3+object:type=blob',
])('%s is a function of the objects alone', (spec) => {
  expect(parseFilterSpec(spec)).toBe(true)
})

test.each([
  '',
  ' blob:none',
  'blob:none ',
  'blob:none\n',
  'BLOB:NONE',
  'blob',
  'blob:limit=',
  'blob:limit=1K',
  'blob:limit=-1',
  'blob:limit=1kk',
  'blob:limit=1234567890123456789',
  'tree:',
  'tree:-1',
  'tree:x',
  'tree:1234567890',
  'object:type=any',
  'sparse:oid=main:spec',
  'sparse:oid=1111111111111111111111111111111111111111',
  'sparse:path=spec',
  'auto',
  'combine:',
  'combine:+',
  'combine:blob:none+',
  'combine:+blob:none',
  'combine:blob:none+sparse:oid=main:spec',
  'combine:sparse:oid=main:spec',
  'combine:blob:none+sparse%3aoid%3dmain',
  'combine:%73parse:oid=main:spec',
  'combine:blob%3anone+tree:0',
  'combine:combine:blob:none+tree:0',
  'combine:combine%3asparse%3aoid=x+tree:0',
  'blob:none+tree:0',
])('%j is not in the table', (spec) => {
  expect(parseFilterSpec(spec)).toBe(false)
})
