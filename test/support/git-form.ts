/** A protocol v2 fetch as git writes it (fetch-pack.c, `send_fetch_request`). */
import type { FetchRequest } from '../../njs/src/git/fetch-request.ts'
import { pktLine } from '../../njs/src/git/pkt-line.ts'

/** `format`: whether it names the object format, which clients before 2.28 do not. */
export function gitForm(request: FetchRequest, agent: string | null, format: boolean): string {
  const flag = (on: boolean, line: string) => (on ? pktLine(line) : '')
  const lines = (name: string, oids: string[], end: string) =>
    oids.map((oid) => pktLine(`${name} ${oid}${end}`)).join('')
  return [
    pktLine('command=fetch'),
    agent === null ? '' : pktLine(`agent=${agent}`),
    flag(format, 'object-format=sha1'),
    '0001',
    flag(request.thinPack, 'thin-pack'),
    flag(request.noProgress, 'no-progress'),
    flag(request.includeTag, 'include-tag'),
    flag(request.ofsDelta, 'ofs-delta'),
    lines('shallow', request.shallows, ''),
    request.deepen === null ? '' : pktLine(request.deepen),
    request.filter === null ? '' : pktLine(`filter ${request.filter}`),
    lines('want', request.wants, '\n'),
    lines('have', request.haves, '\n'),
    flag(request.done, 'done\n'),
    '0000',
  ].join('')
}
