/** Starts the shared servers once for all stories; they find them by `inject('stack')`. */
import { readFileSync } from 'node:fs'
import type { TestProject } from 'vitest/node'
import { ensureDockerEngine } from './engine.ts'
import { type StackInfo, startStack } from './stack.ts'
import { sweepContainers } from './sweep.ts'

declare module 'vitest' {
  export interface ProvidedContext {
    stack: StackInfo
  }
}

export default async function setup(project: TestProject) {
  // Servers that `up.ts` keeps up, for the inner loop.
  const kept = process.env.GITCACHE_TEST_STACK
  if (kept) {
    project.provide('stack', JSON.parse(readFileSync(kept, 'utf8')))
    return
  }
  await ensureDockerEngine()
  await sweepContainers()
  const stack = await startStack(console.error)
  project.provide('stack', stack.info)
  return stack.stop
}
