/** The edits that take a guard out of a build find it where it is: said here in a second, not by the stories in an hour. */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { GUARDS } from '../e2e/support/attacks.ts'

const ROOT = path.resolve(import.meta.dirname, '../..')

test.each(Object.entries(GUARDS))('%s', (_, edits) => {
  for (const [file, from] of edits) {
    expect(readFileSync(path.join(ROOT, file), 'utf8')).toContain(from)
  }
})
