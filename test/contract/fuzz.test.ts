/**
 * Any bytes at all give one decision in every engine of this machine, and never an exception. The
 * end-to-end story of engines does the same in each njs of the tested nginx versions.
 */
import { spawnSync } from 'node:child_process'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { again, PATIENCE, record, share } from '../support/fuzz.ts'
import { scratch } from '../support/git.ts'
import { type Batch, batches, differences, inputs, RUN_NJS } from './fuzzed.ts'

/** Milliseconds for a batch, the engine's start included. */
const BOUND = 60_000

const ENGINES = {
  njs: RUN_NJS,
  deno: 'npx --yes deno@2.9.6 run',
}

const work = scratch()
afterAll(work.remove)
let all: Batch[] = []
const expected = new Map<Batch, string[]>()

function decisions(command: string, { file }: Batch): string[] {
  const { stdout, stderr, status, error } = spawnSync('sh', ['-c', `${command} ${file}`], {
    encoding: 'utf8',
    timeout: BOUND,
    maxBuffer: 1 << 26,
  })
  if (error || status !== 0) throw new Error(`${command} ${file}: ${error ?? stderr}\n${again()}`)
  return stdout.trim().split('\n')
}

beforeAll(async () => {
  all = await batches(work.dir, inputs(share()))
  for (const batch of all) expected.set(batch, decisions(`"${process.execPath}"`, batch))
}, PATIENCE)

test('node: each input is decided', () => {
  const lines = [...expected.values()].flat()
  record('any bytes in every engine of this machine', 'cheap', lines.length)
  expect(lines.length).toBe(share())
  expect(lines.filter((line) => !/^[a-z0-9-]+ [0-9a-f]+$/.test(line))).toEqual([])
  expect(lines.filter((line) => line.startsWith('fetch ')).length).toBeGreaterThan(0)
})

for (const [name, command] of Object.entries(ENGINES)) {
  const present =
    spawnSync('sh', ['-c', `command -v ${name === 'njs' ? 'njs' : 'npx'}`]).status === 0
  if (!present) process.stderr.write(`\n!!! FUZZ NOT CHECKED: ${name} is not on this machine !!!\n`)
  test.skipIf(!present)(
    `${name}: the same decisions as in node`,
    () => {
      const found = all.flatMap((batch) =>
        differences(batch, expected.get(batch) ?? [], decisions(command, batch))
      )
      expect(found.slice(0, 10), `${found.length} decided otherwise; ${again()}`).toEqual([])
    },
    PATIENCE
  )
}
