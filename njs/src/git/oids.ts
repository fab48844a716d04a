/** Object ids, in hex, as lists. */

/** Sorted, each once; the array itself where it is so already. */
export function sortedUnique(oids: string[]): string[] {
  if (oids.length < 2 || isAscending(oids)) {
    return oids
  }
  const sorted = oids.slice().sort()
  return sorted.filter((oid, i) => i === 0 || oid !== sorted[i - 1])
}

/** Each once, where it stands first. */
export function unique(oids: string[]): string[] {
  const seen: { [oid: string]: true } = Object.create(null)
  return oids.filter((oid) => {
    const isNew = seen[oid] !== true
    seen[oid] = true
    return isNew
  })
}

function isAscending(oids: string[]): boolean {
  for (let i = 1; i < oids.length; i++) {
    if ((oids[i - 1] as string) >= (oids[i] as string)) {
      return false
    }
  }
  return true
}
