/** On which nginx a story runs. */
import { describe } from 'vitest'
import { suites } from './servers.ts'
import { SUITES, type Suite } from './stack.ts'

/** One version alone: for the inner loop. */
const ONLY = process.env.GITCACHE_TEST_NGINX

/** All that there are, or for the inner loop one. */
export function chosen(): Suite[] {
  return suites().filter((suite) => !ONLY || suite === ONLY)
}

/** The same tests for each nginx; where Debian does not give one today, they count as skipped. */
export function onEachNginx(tests: (suite: Suite) => void): void {
  for (const suite of SUITES.filter((one) => !ONLY || one === ONLY)) {
    describe.skipIf(!suites().includes(suite))(`nginx of ${suite}`, () => tests(suite))
  }
}

/** On the first of them, where the version changes nothing. */
export function onOneNginx(tests: (suite: Suite) => void): void {
  const suite = chosen()[0] as Suite
  describe(`nginx of ${suite}`, () => tests(suite))
}
