/** What a sweep has done. Every point at which the database is wrong, or loses what it acknowledged, is an error that ends the sweep. */
export interface Tally {
  readonly name: string
  /** Points at which something was injected. */
  points: number
  /** At these the database, or the operation, failed with an error that says so. */
  failedOpenly: number
  /** At these all went on, or came back, as if nothing had been. */
  withoutHarm: number
}

export function newTally(name: string): Tally {
  return { name, points: 0, failedOpenly: 0, withoutHarm: 0 }
}

/** How the database took what was injected; where all came to its end before that, it is no point. */
export type Outcome = 'failed openly' | 'without harm' | 'nothing injected'

/** Runs one point; an error names the point, so that it is found again. */
export async function tryPoint(tally: Tally, point: string, run: () => Promise<Outcome>): Promise<void> {
  try {
    const outcome = await run()
    if (outcome === 'nothing injected') return
    tally.points++
    if (outcome === 'failed openly') tally.failedOpenly++
    else tally.withoutHarm++
  } catch (error) {
    throw new Error(`${tally.name}, ${point}: ${error instanceof Error ? error.message : error}`, { cause: error })
  }
}

export function describeTally({ name, points, failedOpenly, withoutHarm }: Tally): string {
  return `${name}: ${points} injection points, ${failedOpenly} failed openly, ${withoutHarm} without harm, 0 wrong values, 0 lost`
}

/** How much of it: each `stride`-th point, from `first` on. */
export interface Dose {
  readonly stride: number
  readonly first: number
}

export function* pointsOf(total: number, { stride, first }: Dose): Generator<number> {
  for (let k = 1 + (first % stride); k <= total; k += stride) yield k
}
