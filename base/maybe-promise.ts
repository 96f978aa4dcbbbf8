/** A value at hand, or the promise of one: reads that are answered from memory cost no promise. Test with `instanceof Promise`. */
export type MaybePromise<T> = T | Promise<T>
