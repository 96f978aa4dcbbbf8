/** Index of the first element at or behind `from` for which `test` holds (it must hold for all behind it), or the length. */
export function firstFrom<T>(items: readonly T[], test: (item: T) => boolean, from = 0): number {
  let low = from
  let high = items.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (test(items[middle] as T)) high = middle
    else low = middle + 1
  }
  return low
}
