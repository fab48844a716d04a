/**
 * Whether a client that hangs up during a subrequest crashes the worker of this njs: nginx/njs issues
 * 1077 and 1080, in 0.8.1 to 0.8.4 and 0.9.5 to 0.9.9. `version`: njs.version, `0.8.2`.
 */
export function crashesInSubrequests(version: string): boolean {
  const minor = version.substring(0, 4)
  const patch = Number(version.substring(4))
  return (
    (minor === '0.8.' && patch >= 1 && patch <= 4) || (minor === '0.9.' && patch >= 5 && patch <= 9)
  )
}
