/**
 * Filters whose result is a function of the objects alone. Closed: `sparse:oid=` names an object
 * that nobody authorised, and in `combine:` a name can hide behind percent-encoding.
 * Source: git-rev-list(1), `--filter`.
 */
const SIMPLE =
  /^(blob:none|blob:limit=[0-9]{1,18}[kmg]?|tree:[0-9]{1,9}|object:type=(blob|tree|commit|tag))$(?!\n)/

export function parseFilterSpec(spec: string): boolean {
  if (spec.indexOf('combine:') !== 0) {
    return SIMPLE.test(spec)
  }
  return spec
    .substring(8)
    .split('+')
    .every((part) => SIMPLE.test(part))
}
