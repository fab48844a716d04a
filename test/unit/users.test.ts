/** Whose a directory is that root would follow into. */
import { expect, test, vi } from 'vitest'

const owners = vi.hoisted(() => ({ link: 0, target: 0 }))
vi.mock('node:fs', async (original) => ({
  ...(await original<typeof import('node:fs')>()),
  lstatSync: () => ({ uid: owners.link }),
  statSync: () => ({ uid: owners.target }),
}))
const { otherOwner } = await import('../../sidecar/src/commands/users.ts')

test.each([
  [0, 0, 0, null],
  [0, 0, 4_000_000_001, '4000000001'],
  [0, 4_000_000_001, 0, '4000000001'],
  [1000, 0, 4_000_000_001, null],
])('by user %i: a link of %i to what is of %i', (user, link, target, owner) => {
  Object.assign(owners, { link, target })
  const getuid = vi.spyOn(process, 'getuid').mockReturnValue(user)
  expect(otherOwner('/data')).toBe(owner)
  getuid.mockRestore()
})
