/** A value at hand, or the promise of one: reads that are answered from memory cost no promise. Test with `instanceof Promise`. */
export type MaybePromise<T> = T | Promise<T>

/**
 * The values of all of `values`, once none is under way any more: what was begun for them is at its end too where one fails. Rejects with the
 * first failure in their order; the others are heard here, so none stays unhandled.
 */
export async function settleAll<T>(values: readonly MaybePromise<T>[]): Promise<T[]> {
  const outcomes = await Promise.allSettled(values)
  return outcomes.map((outcome) => {
    if (outcome.status === 'rejected') throw outcome.reason
    return outcome.value
  })
}
