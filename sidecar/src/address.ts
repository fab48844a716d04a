/** Where something listens: a unix socket's path, or HOST:PORT. */

/** Of a unix socket: unix(7), less the zero at the end. */
export const MAX_SOCKET_NAME = 107

export function isSocketName(file: string): boolean {
  return Buffer.byteLength(file) <= MAX_SOCKET_NAME
}

export function isUnixSocket(address: string): boolean {
  return address.startsWith('/')
}

/** `127.0.0.1:8080`, `[::1]:8080`. What is neither has no host, and no number for a port. */
export function splitAddress(text: string): [host: string, port: number] {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d+)$/.exec(text)
  return match === null ? ['', Number.NaN] : [match[1] ?? match[2] ?? '', Number(match[3])]
}

/** That one can listen at. */
export function isAddress(text: string): boolean {
  const [host, port] = splitAddress(text)
  return host !== '' && port > 0 && port < 65_536
}
