/**
 * njs versions in which a client that hangs up during a subrequest crashes the worker
 * (nginx/njs issues 1077 and 1080; fixed in 0.8.5 and in 1.0.0): first and last of each range.
 */
const CRASHING = [
  [801, 804],
  [905, 909],
]

/** `version`: njs.version, `0.8.2`. */
export function crashesInSubrequests(version: string): boolean {
  const number = versionNumber(version)
  return CRASHING.some((range) => number >= (range[0] as number) && number <= (range[1] as number))
}

function versionNumber(version: string): number {
  const parts = version.split('.').map(Number)
  return (parts[0] || 0) * 10000 + (parts[1] || 0) * 100 + (parts[2] || 0)
}
