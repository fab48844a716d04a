import type { Server } from 'node:net'

/**
 * Connections that wait to be accepted; the kernel takes no more than net.core.somaxconn. To a unix
 * socket it refuses one more at once, and nginx would pass it: a herd comes in a millisecond.
 */
export const BACKLOG = 4096

/** Listens on a unix socket that only our user and root can open. Rejects with the kernel's error. */
export function listenPrivately(server: Server, file: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    // The socket is made before `listen` returns: nothing else comes to be under this mask.
    const mask = process.umask(0o177)
    server.listen({ path: file, backlog: BACKLOG }, resolve)
    process.umask(mask)
  })
}
