/** Whether somebody listens there. */
import { connect } from 'node:net'
import { isUnixSocket, splitAddress } from './address.ts'

/** Milliseconds. */
const PATIENCE = 3000

/** `address`: the path of a unix socket, or HOST:PORT. */
export function canConnect(address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const asked = isUnixSocket(address) ? connect(address) : connectTo(address)
    const end = (answers: boolean) => {
      asked.destroy()
      resolve(answers)
    }
    asked.once('connect', () => end(true))
    asked.once('error', () => end(false))
    asked.setTimeout(PATIENCE, () => end(false))
  })
}

function connectTo(address: string) {
  const [host, port] = splitAddress(address)
  return connect(port, host)
}
