import { mkdirSync } from 'node:fs'
import { type Layout, layout } from '../../sidecar/src/layout.ts'

/** The directories of a data directory, as `serve` makes them. */
export function prepareLayout(data: string): Layout {
  const dirs = layout(data)
  for (const dir of Object.values(dirs)) mkdirSync(dir, { recursive: true, mode: 0o750 })
  return dirs
}
