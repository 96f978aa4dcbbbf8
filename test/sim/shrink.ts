/** Makes a list that fails smaller while it still fails: delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002). */

export interface Shrunk<T> {
  readonly items: readonly T[]
  /** How often `fails` was asked. */
  readonly runs: number
  /** False: the budget was used up before no single item could be left out. */
  readonly minimal: boolean
}

/**
 * `items` fail. Asks `fails` of subsets, in the order of `items`, at most `runsMax` times, and returns the smallest found that still fails; when it is
 * `minimal`, none of its items can be left out by itself.
 */
export async function shrink<T>(
  items: readonly T[],
  fails: (subset: readonly T[]) => Promise<boolean>,
  runsMax: number,
): Promise<Shrunk<T>> {
  let current = items
  let runs = 0
  const test = async (subset: readonly T[]) => {
    runs++
    return await fails(subset)
  }
  // Often the fault is in nothing that was injected.
  if (current.length > 0 && runsMax > 0 && (await test([]))) return { items: [], runs, minimal: true }
  let pieces = 2
  while (current.length >= 2) {
    const found = await smaller(current, pieces, test, () => runs < runsMax)
    if (found !== undefined) {
      pieces = found.length < current.length / pieces + 1 ? 2 : Math.max(2, pieces - 1)
      current = found
    } else if (runs >= runsMax) return { items: current, runs, minimal: false }
    else if (pieces >= current.length) break
    else pieces = Math.min(current.length, 2 * pieces)
  }
  return { items: current, runs, minimal: true }
}

/** One of `pieces` parts of `items`, or all but one of them, that fails. */
async function smaller<T>(
  items: readonly T[],
  pieces: number,
  fails: (subset: readonly T[]) => Promise<boolean>,
  goOn: () => boolean,
): Promise<readonly T[] | undefined> {
  const parts = Array.from({ length: pieces }, (_, i) =>
    items.slice(Math.floor((i * items.length) / pieces), Math.floor(((i + 1) * items.length) / pieces)),
  )
  if (pieces > 2) {
    for (const part of parts) {
      if (!goOn()) return undefined
      if (await fails(part)) return part
    }
  }
  for (const [i] of parts.entries()) {
    if (!goOn()) return undefined
    const rest = parts.flatMap((part, other) => (other === i ? [] : part))
    if (rest.length < items.length && (await fails(rest))) return rest
  }
  return undefined
}
