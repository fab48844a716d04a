/** Object ids, in hex, as lists. */

/** Sorted, each once; the array itself where it is so already. */
export function sortedUnique(oids: string[]): string[] {
  if (oids.length < 2 || isAscending(oids)) {
    return oids
  }
  const sorted = oids.slice().sort()
  return sorted.filter((oid, i) => i === 0 || oid !== sorted[i - 1])
}

/** Those of `oids` that are also in `others`, in their order, each once. */
export function common(oids: string[], others: string[]): string[] {
  const left: Record<string, boolean> = {}
  others.forEach((oid) => {
    left[oid] = true
  })
  return oids.filter((oid) => {
    const isNew = left[oid] === true
    left[oid] = false
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
