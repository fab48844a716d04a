/** The sidecar of `run` is started again whatever goes wrong; nginx must not notice. */
import { spawn } from 'node:child_process'
import { expect, test } from 'vitest'
import { supervise } from '../../sidecar/src/commands/supervise.ts'

const sleeper = () => spawn('sleep', ['60'])

async function supervised(start: (life: number) => ReturnType<typeof spawn>, noted = () => {}) {
  const said: string[] = []
  let lives = 0
  const sidecar = supervise(
    () => start(lives++),
    (line) => said.push(line),
    noted
  )
  await expect.poll(() => lives, { timeout: 5000 }).toBe(2)
  await sidecar.stop()
  return said
}

test('it ends', async () => {
  const said = await supervised((life) => (life === 0 ? spawn('false') : sleeper()))
  expect(said).toEqual([expect.stringMatching(/ended \(1\), again in 250 ms/)])
})

test('it cannot be started', async () => {
  const said = await supervised((life) => (life === 0 ? spawn('/nowhere/node') : sleeper()))
  expect(said).toEqual([expect.stringMatching(/does not start \(.*ENOENT.*\), again in 250 ms/)])
})

test('starting it throws', async () => {
  const said = await supervised((life) => {
    if (life === 0) throw new Error('EAGAIN')
    return sleeper()
  })
  expect(said).toEqual(['sidecar: EAGAIN', expect.stringMatching(/does not start, again/)])
})

test('its pid cannot be written down: it runs all the same', async () => {
  const children: ReturnType<typeof spawn>[] = []
  const said: string[] = []
  const sidecar = supervise(
    () => {
      const child = sleeper()
      children.push(child)
      return child
    },
    (line) => said.push(line),
    () => {
      throw new Error('ENOSPC')
    }
  )
  expect(said).toEqual(['sidecar: ENOSPC'])
  expect(children[0]?.exitCode).toBeNull()
  await sidecar.stop()
  expect(children[0]?.signalCode).toBe('SIGTERM')
})

test('it refuses to start as it was told: once, and it is not tried again', async () => {
  const said: string[] = []
  let lives = 0
  const start = () => {
    lives += 1
    return spawn('sh', ['-c', 'exit 2'])
  }
  const sidecar = supervise(
    start,
    (line) => said.push(line),
    () => {}
  )
  expect(await sidecar.refused).toBe('refused')
  await sidecar.stop()
  expect([lives, said]).toEqual([1, []])
})
