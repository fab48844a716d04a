/**
 * pkt-line: git's packetized lines. Four hexadecimal digits say how long the packet is, themselves
 * included, so a stream can be cut into packets without ever reading into what might be pack data.
 * Source: gitprotocol-common(5), "pkt-line Format".
 */

export const FLUSH = 0
export const DELIM = 1
export const RESPONSE_END = 2

/** A packet: its payload, or one of the special packets (0000, 0001, 0002). */
export type Pkt = string | typeof FLUSH | typeof DELIM | typeof RESPONSE_END

/** Bytes that can be cut: a string of ASCII is one; a buffer whose `text` decodes a range is another. */
export interface PktSource {
  readonly length: number
  text(start: number, end: number): string
}

export interface ReadPkt {
  pkt: Pkt
  next: number
}

export function asciiSource(body: string): PktSource {
  return { length: body.length, text: (start, end) => body.substring(start, end) }
}

/** The packet at `pos`, or null where the bytes do not parse or end too early. */
export function readPkt(source: PktSource, pos: number): ReadPkt | null {
  const head = source.text(pos, pos + 4)
  const length = parseInt(head, 16)
  // A regular expression costs njs more than all the rest: only what is not in canonical form needs it.
  if (digits(length) !== head && !/^[0-9a-fA-F]{4}$/.test(head)) {
    return null
  }
  if (length < 3) {
    return { pkt: length as typeof FLUSH, next: pos + 4 }
  }
  if (length === 3 || pos + length > source.length) {
    return null
  }
  return { pkt: source.text(pos + 4, pos + length), next: pos + length }
}

/** All packets of a complete body, or null where any of it does not parse. */
export function readPkts(source: PktSource): Pkt[] | null {
  const pkts: Pkt[] = []
  let pos = 0
  while (pos < source.length) {
    const read = readPkt(source, pos)
    if (read === null) {
      return null
    }
    pkts.push(read.pkt)
    pos = read.next
  }
  return pkts
}

/** One data packet of ASCII text; the line feed is the caller's. */
export function pktLine(text: string): string {
  return pktDigits(text.length) + text
}

/** What stands before a payload of so many bytes. */
export function pktDigits(payload: number): string {
  return digits(payload + 4)
}

function digits(length: number): string {
  return ('000' + length.toString(16)).slice(-4)
}

/** A line's text without the line feed that git sends after some lines and not after others. */
export function chomp(line: string): string {
  return line.charCodeAt(line.length - 1) === 10 ? line.slice(0, -1) : line
}
