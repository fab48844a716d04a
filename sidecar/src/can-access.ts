import { access } from 'node:fs/promises'

/** Whether it is there, or may be used so; `mode`: as of access(2), `constants` of node:fs. */
export function canAccess(file: string, mode?: number): Promise<boolean> {
  return access(file, mode).then(
    () => true,
    () => false
  )
}
