/**
 * The shared servers of the stories, kept up for the inner loop: `node test/e2e/support/up.ts FILE`,
 * then in another shell `GITCACHE_TEST_STACK=FILE npx vitest run --project e2e`.
 */
import { writeFileSync } from 'node:fs'
import { ensureDockerEngine } from './engine.ts'
import { startStack } from './stack.ts'
import { sweepContainers } from './sweep.ts'

await ensureDockerEngine()
await sweepContainers()
const { info, stop } = await startStack(console.error)
writeFileSync(process.argv[2] ?? '/dev/stdout', JSON.stringify(info, null, 2))
console.log('up')
process.once('SIGINT', () => stop().then(() => process.exit()))
setInterval(() => {}, 60_000)
