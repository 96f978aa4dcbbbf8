/**
 * Assertions stay on in production: a broken invariant stops the replica (or the process) before it spreads. An `AssertionError`
 * is always a bug of ours, never an answer to bad input (`proto/errors.ts`) and never damaged data (`base/errors.ts`).
 */
export class AssertionError extends Error {
  override readonly name = 'AssertionError'
}

export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(message)
}

/** Returns `value`, which must not be undefined or null. */
export function must<T>(value: T | undefined | null, message: string): T {
  if (value === undefined || value === null) throw new AssertionError(message)
  return value
}

/** For the default branch of a switch over a closed union. */
export function unreachable(value: never, message = 'unreachable'): never {
  throw new AssertionError(`${message}: ${String(value)}`)
}
