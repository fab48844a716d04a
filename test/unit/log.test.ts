/** A log that cannot be written stops nobody. */
import { expect, test } from 'vitest'
import { openLog } from '../../sidecar/src/log.ts'

test('a line is written whole, in as many pieces as it takes', () => {
  let written = ''
  const log = openLog('info', ((_: number, bytes: Buffer) => {
    written += bytes.subarray(0, 7).toString()
    return Math.min(7, bytes.length)
  }) as never)
  log.info({ id: 'a' }, 'request')
  expect(JSON.parse(written)).toMatchObject({ id: 'a', msg: 'request' })
})

test('a full disk, a terminal that has gone: the line is lost', () => {
  let tries = 0
  const log = openLog('info', (() => {
    tries += 1
    throw Object.assign(new Error('no space'), { code: 'ENOSPC' })
  }) as never)
  log.info('one')
  log.info('two')
  expect(tries).toBe(2)
})
