/**
 * The same bytes give the same decisions in every engine that is at hand. The container tests run
 * the same bundle in every njs that is supported.
 */
import { spawnSync } from 'node:child_process'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CASES } from '../support/cases.ts'
import { scratch } from '../support/git.ts'
import { contractBundle } from './bundle.ts'

const DENO = ['npx', '--yes', 'deno@2.9.6']

interface Engine {
  name: string
  /** Runs the file whose name is appended. */
  command: string[]
  /** Whether it is on this machine. */
  present: boolean
}

function output(command: string[], file: string): string {
  const [program = '', ...args] = command
  const { stdout, stderr, status, error } = spawnSync(program, [...args, file], {
    encoding: 'utf8',
    timeout: 60_000,
  })
  if (error || status !== 0) throw new Error(`${command.join(' ')}: ${error ?? stderr}\n${stdout}`)
  return stdout
}

function answers(command: string[]): string | null {
  const [program = '', ...args] = command
  const { stdout, status } = spawnSync(program, args, { encoding: 'utf8', timeout: 60_000 })
  return status === 0 ? stdout : null
}

/** The njs command line tool takes a module by -t before 0.8.6 and by -m since. */
function njs(): Engine {
  const help = answers(['njs', '-h'])
  const flags = help?.includes('-t script|module') ? ['-t', 'module'] : ['-m']
  const version = answers(['njs', '-v'])?.trim() ?? '(not on this machine)'
  return { name: `njs ${version}`, command: ['njs', ...flags], present: help !== null }
}

const ENGINES: Engine[] = [
  njs(),
  { name: 'node', command: [process.execPath], present: true },
  { name: 'deno', command: [...DENO, 'run'], present: answers([...DENO, '--version']) !== null },
]

// Made here, not taken from the path of a bundle: where its build fails there is none.
const work = scratch()
afterAll(work.remove)
let bundle = ''
beforeAll(async () => {
  bundle = await contractBundle(work.dir)
})

for (const { name, present } of ENGINES) {
  if (!present) {
    process.stderr.write(
      `\n!!! CONTRACT NOT CHECKED: ${name} is missing, its tests are skipped !!!\n\n`
    )
  }
}

describe.each(ENGINES)('$name', ({ command, present }) => {
  test.skipIf(!present)('every case is ok', () => {
    const lines = output(command, bundle).trim().split('\n')
    expect(lines.filter((line) => line.startsWith('not ok'))).toEqual([])
    expect(lines.filter((line) => line.startsWith('ok')).length).toBeGreaterThan(CASES.length)
    expect(lines.at(-1)).toMatch(/^all \d+ ok$/)
  })
})

test('one digest of decisions over mutated requests', () => {
  const digests = ENGINES.filter(({ present }) => present).map(
    ({ command }) => /^digest .*$/m.exec(output(command, bundle))?.[0]
  )
  expect(digests[0]).toMatch(/^digest [3-9]\d\d [0-9a-f]+$/)
  expect(new Set(digests).size).toBe(1)
})
