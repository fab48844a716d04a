/** Who counts as one client: an IPv4 address, or a network of 64 bits, of which an IPv6 client has all addresses (RFC 4291, 2.5.1). */
export function networkOf(address: string): string {
  // `::ffff:192.0.2.1` is one of IPv4.
  if (!address.includes(':') || address.includes('.')) {
    return address
  }
  const [before = '', after] = address.split('::')
  const groups = before.split(':').filter(Boolean)
  const rest = (after ?? '').split(':').filter(Boolean)
  const zeros = after === undefined ? 0 : Math.max(0, 8 - groups.length - rest.length)
  return [...groups, ...Array(zeros).fill('0'), ...rest].slice(0, 4).join(':')
}
