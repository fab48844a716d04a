/**
 * How often each property is tried, in one place. GITCACHE_FUZZ_CASES is how many cases the cheap
 * properties try together; GITCACHE_FUZZ_SEED makes them the same again. What ran is appended to the
 * file that GITCACHE_FUZZ_REPORT names, for fuzz.mjs to count.
 */
import { appendFileSync } from 'node:fs'
import fc from 'fast-check'
import { expect } from 'vitest'

/** In `npm test`. */
const CASES = 10_000
/** No more than the cheap properties there are: fuzz.mjs fails where fewer cases ran than were asked for. */
const SHARES = 24
/** What runs git costs hundreds of times as much. */
const PART_OF_GIT = 1 / 40
/** For one property, also with a million cases. */
export const PATIENCE = 1_400_000

export type Cost = 'cheap' | 'git'

export function cases(fallback = CASES): number {
  return Number(process.env.GITCACHE_FUZZ_CASES) || fallback
}

/** How many cases one property tries. */
export function share(part = 1): number {
  return Math.ceil((cases() / SHARES) * part)
}

const random = Math.floor(Math.random() * 0x7fffffff)

/** Of this run. */
export function seed(): number {
  return Number(process.env.GITCACHE_FUZZ_SEED || random)
}

/** How to see a failure again. */
export function again(): string {
  return `GITCACHE_FUZZ_SEED=${seed()} GITCACHE_FUZZ_CASES=${cases()}`
}

export function record(name: string, cost: Cost, ran: number): void {
  const file = process.env.GITCACHE_FUZZ_REPORT
  if (file) appendFileSync(file, `${JSON.stringify({ name, cost, ran })}\n`)
}

function parameters<T>(cost: Cost, numRuns: number): fc.Parameters<T> {
  return {
    numRuns,
    seed: seed(),
    reporter: (run) => {
      const name = expect.getState().currentTestName ?? ''
      record(name, cost, run.numRuns)
      if (run.failed) throw new Error(`${fc.defaultReportMessage(run)}\n\nAgain: ${again()}`)
    },
  }
}

/** Parameters of a property that runs nothing but our own code. */
export function runs<T>(part = 1): fc.Parameters<T> {
  return parameters('cheap', share(part))
}

/** Parameters of a property that runs git for each case. */
export function runsWithGit<T>(atLeast = 60): fc.Parameters<T> {
  return parameters('git', Math.max(atLeast, share(PART_OF_GIT)))
}
