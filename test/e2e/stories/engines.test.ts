/**
 * The engines that nginx's module runs in, each version's own, decide on any bytes as Node does, which
 * is the sidecar's engine: what one takes and the other passes would have two meanings.
 */

import { execFile } from 'node:child_process'
import { mkdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Batch, batches, differences, inputs, RUN_NJS } from '../../contract/fuzzed.ts'
import { again, PATIENCE, share } from '../../support/fuzz.ts'

import { client, must, stack, uniqueId } from '../support/servers.ts'
import { onEachNginx } from '../support/versions.ts'

/** Debian builds njs with QuickJS since sid's. */
const ENGINES = {
  bookworm: ['njs'],
  trixie: ['njs'],
  sid: ['njs', 'QuickJS'],
} as const
const FLAGS = { njs: '', QuickJS: ' -n QuickJS' }

const name = uniqueId('fuzz')
const work = () => path.join(stack().dir, 'work', name)
let all: Batch[] = []
const expected = new Map<Batch, string[]>()

beforeAll(async () => {
  mkdirSync(work())
  all = await batches(work(), inputs(share()))
  for (const batch of all) {
    const { stdout } = await promisify(execFile)(process.execPath, [batch.file])
    expected.set(batch, stdout.trim().split('\n'))
  }
}, PATIENCE)

afterAll(() => rmSync(work(), { recursive: true, force: true }))

onEachNginx((suite) => {
  test.each(ENGINES[suite])(
    '%s: the same decisions as in node',
    async (engine) => {
      const found: string[] = []
      for (const batch of all) {
        const file = `/w/work/${name}/${path.basename(batch.file)}`
        const out = await must(client(suite), `${RUN_NJS}${FLAGS[engine]} ${file}`)
        found.push(...differences(batch, expected.get(batch) ?? [], out.trim().split('\n')))
      }
      console.log(`${suite}, ${engine}: ${share()} inputs, ${found.length} decided otherwise`)
      expect(found.slice(0, 10), `${found.length} decided otherwise; ${again()}`).toEqual([])
    },
    PATIENCE
  )
})
