/** Servers of a test, on a free port of this machine alone. */
import { once } from 'node:events'
import { Server as HttpServer } from 'node:http'
import type { AddressInfo, Server } from 'node:net'
import { afterAll } from 'vitest'

/** Returns the port. */
export async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

/** Until the tests of the file are over. Returns the port. */
export async function listenForAll(server: Server): Promise<number> {
  afterAll(() => {
    if (server instanceof HttpServer) server.closeAllConnections()
    server.close()
  })
  return listen(server)
}
