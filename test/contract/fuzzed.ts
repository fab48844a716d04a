/** Random bytes for every engine: the same seed gives the same bundles of bytes and decisions. */
import { isUtf8 } from 'node:buffer'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import fc from 'fast-check'
import { bundleForNjs } from '../../njs/build.mjs'
import { seed } from '../support/fuzz.ts'
import { anyInput, anyLargeInput, anyProtocol } from '../support/mutations.ts'

/** Bytes that one engine decides in one run; njs keeps all of it until the end. */
const BATCH = 500

export interface Input {
  protocol: string
  bytes: Buffer
}

const anyRow = fc.record({
  protocol: anyProtocol,
  bytes: fc.oneof({ weight: 99, arbitrary: anyInput }, { weight: 1, arbitrary: anyLargeInput }),
})

export function inputs(count: number): Input[] {
  return fc.sample(anyRow, { numRuns: count, seed: seed() })
}

export interface Batch {
  /** A program for an engine; it prints a line for each input. */
  file: string
  inputs: Input[]
}

export async function batches(dir: string, all: Input[]): Promise<Batch[]> {
  const bundle = path.join(dir, 'fuzz.mjs')
  await bundleForNjs(path.join(import.meta.dirname, 'fuzz.entry.ts'), bundle)
  const code = readFileSync(bundle, 'utf8')
  const count = Math.ceil(all.length / BATCH)
  return Array.from({ length: count }, (_, i) => {
    const some = all.slice(i * BATCH, (i + 1) * BATCH)
    const rows = some.map(({ protocol, bytes }) => `${protocol} ${bytes.toString('hex')}`)
    const file = path.join(dir, `fuzz-${i}.mjs`)
    writeFileSync(file, code.replace('@inputs@', rows.join()))
    return { file, inputs: some }
  })
}

/**
 * Bytes that are not UTF-8 become one replacement character in one engine and two in another, so what
 * is refused may be so for another reason; what is taken, and what follows, is the same.
 */
function comparable(bytes: Buffer, line = 'nothing'): string {
  return isUtf8(bytes) ? line : line.replace(/^(?!fetch |exception )\S+ /, 'pass ')
}

/** Each input whose line is not as expected, to be seen by its bytes. */
export function differences(batch: Batch, expected: string[], actual: string[]): string[] {
  return batch.inputs.flatMap(({ protocol, bytes }, i) => {
    const [wanted, got] = [comparable(bytes, expected[i]), comparable(bytes, actual[i])]
    return wanted === got ? [] : [`${protocol} ${bytes.toString('base64')}: ${wanted}, not ${got}`]
  })
}

/** Of a machine's own njs command line tool: it takes a module by -t before 0.8.6 and by -m since. */
export const RUN_NJS = `if njs -h | grep -qF 'script|module'; then flags='-t module'; else flags=-m; fi; njs $flags`
