/** Many calls as one: issued a window at a time, so that a long list costs bounded memory. */
import { type ErrorCode, OstrakaError } from '../proto/errors.ts'
import { makeError } from './make-error.ts'
import type { FailedMember } from './types.ts'

const WINDOW = 4096

export interface ManyOutcome<T> {
  /** In the order of the members; undefined where one failed or was not issued. */
  readonly results: (T | undefined)[]
  /** In the order of the members. */
  readonly failed: FailedMember[]
}

/** Issues call 0, 1, … `count` - 1, at most `WINDOW` at once, and waits for all. `stopEarly`: after a failure no more are issued. */
export function issueMany<T>(count: number, issue: (index: number) => Promise<T>, stopEarly: boolean): Promise<ManyOutcome<T>> {
  const results: (T | undefined)[] = new Array(count).fill(undefined)
  const failed: FailedMember[] = []
  return new Promise((resolve) => {
    let next = 0
    let running = 0
    const go = () => {
      while (running < WINDOW && next < count && !(stopEarly && failed.length > 0)) start(next++)
      if (running === 0) resolve({ results, failed: failed.sort((a, b) => a.index - b.index) })
    }
    const start = (index: number) => {
      running++
      issue(index).then(
        (result) => {
          results[index] = result
          running--
          go()
        },
        (error: unknown) => {
          failed.push({ index, error: asOstrakaError(error) })
          running--
          go()
        },
      )
    }
    go()
  })
}

/** The error of a list of puts: its code is that of the first failure; it is definite only if none of the list can have taken effect. */
export function putManyError(failed: readonly FailedMember[], count: number): OstrakaError {
  const first = failed[0]
  const code: ErrorCode = first?.error.code ?? 'UNKNOWN'
  const definite = failed.length === count && failed.every((member) => member.error.definite)
  const message = `${failed.length} of ${count} puts failed; the first, number ${first?.index}: ${first?.error.message}`
  const error = makeError(code, message, definite)
  error.failed = failed
  return error
}

function asOstrakaError(error: unknown): OstrakaError {
  if (error instanceof OstrakaError) return error
  return makeError('UNKNOWN', error instanceof Error ? error.message : String(error), false)
}
