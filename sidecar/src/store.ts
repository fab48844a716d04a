/** Stored answers: `packs/ab/<key>`, whole or not there. The files are the truth. */
import { constants } from 'node:fs'
import { access, type FileHandle, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises'
import path from 'node:path'

export interface Store {
  /** Called with each answer that is stored, and its bytes. */
  onStored: (key: string, bytes: number) => void
  has(key: string): Promise<boolean>
  /** A new file under tmp/, to be written and then committed or dropped. */
  create(): Promise<SpoolFile>
}

export interface SpoolFile {
  path: string
  handle: FileHandle
  /** Synced and renamed to its key: a reader never sees a part. */
  commit(key: string): Promise<void>
  /** Unlinked; who reads from the handle goes on reading. */
  drop(): Promise<void>
}

export interface Layout {
  packs: string
  mirrors: string
  tmp: string
  run: string
}

export function layout(data: string): Layout {
  return {
    packs: path.join(data, 'packs'),
    mirrors: path.join(data, 'mirrors'),
    tmp: path.join(data, 'tmp'),
    /** The sidecar's own: lock, process groups. DATA/run is the supervisor's. */
    run: path.join(data, 'sidecar'),
  }
}

/** Makes the directories, and empties tmp/ of a previous life: spools, views, half-made mirrors. */
export async function prepareLayout(data: string): Promise<Layout> {
  const dirs = layout(data)
  for (const dir of Object.values(dirs)) await mkdir(dir, { recursive: true, mode: 0o750 })
  await emptyDirectory(dirs.tmp)
  return dirs
}

/** Empties and does not remove: what holds DATA may belong to root. */
export async function emptyDirectory(dir: string): Promise<void> {
  for (const name of await readdir(dir)) {
    await rm(path.join(dir, name), { recursive: true, force: true })
  }
}

let serial = 0

/** A name under tmp/ that no other in this life has. */
export function temporaryName(dirs: Layout, kind: string): string {
  serial += 1
  return path.join(dirs.tmp, `${kind}-${serial}`)
}

export function openStore(dirs: Layout): Store {
  const file = (key: string) => path.join(dirs.packs, key.slice(0, 2), key)
  const store: Store = {
    onStored: () => {},
    has: (key) =>
      access(file(key), constants.R_OK).then(
        () => true,
        () => false
      ),
    create: async () => {
      const name = temporaryName(dirs, 'spool')
      const handle = await open(name, 'wx+', 0o640)
      return {
        path: name,
        handle,
        commit: async (key) => {
          await handle.sync()
          await mkdir(path.dirname(file(key)), { recursive: true, mode: 0o750 })
          const { size } = await handle.stat()
          await rename(name, file(key))
          store.onStored(key, size)
        },
        drop: () => rm(name, { force: true }),
      }
    },
  }
  return store
}

/** Bytes of all files below; what goes away meanwhile does not count. */
export async function sizeOf(dir: string): Promise<number> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true }).catch(() => [])
  const files = entries.filter((entry) => entry.isFile())
  const sizes = await Promise.all(
    files.map(({ parentPath, name }) =>
      stat(path.join(parentPath, name)).then(
        ({ size }) => size,
        () => 0
      )
    )
  )
  return sizes.reduce((sum, size) => sum + size, 0)
}
