import type { Server } from 'node:net'

/** Listens on a unix socket that only our user and root can open. Rejects with the kernel's error. */
export function listenPrivately(server: Server, file: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    // The socket is made before `listen` returns: nothing else comes to be under this mask.
    const mask = process.umask(0o177)
    server.listen(file, resolve)
    process.umask(mask)
  })
}
