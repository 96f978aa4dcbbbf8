/**
 * Whether a file may be read at once, in the thread that asks: a read from the page cache takes 2 us so, and 5 to 10 through a thread pool; a read
 * from the disk would stop everything else for as long as it takes.
 *
 * An account: a read at once may take `fairUs`, and a little more for each KiB. What it takes less is a credit, up to a bound: so a few reads
 * during which the thread was interrupted mean nothing. What it takes more, several times over, is a debt, and each read that goes the other way
 * repays `fairUs`. So where reads come from the disk one in some dozens is tried at once, and after one that took 10 ms none for thousands.
 */
const fairUs = 25
const fairUsPerKiB = 0.5
const debtFactor = 8
const maxCreditUs = 4000
const maxDebtUs = 400_000
/** A caller that reads one block after the other never waits: others get their turn so long after the first read of this one. */
const turnMs = 4

export class ReadPace {
  readonly #afterTurn: (turnEnded: () => void) => void
  /** Credit; below 0 debt. */
  #balanceUs = 0
  /** When this turn's first read began; undefined before it. */
  #beganMs: number | undefined
  #isTurnOver = false
  #nextTurn: Promise<void> | undefined
  #beginTurn: () => void = () => {}

  /** `afterTurn` calls back when others have had their turn. */
  constructor(afterTurn: (turnEnded: () => void) => void) {
    this.#afterTurn = afterTurn
  }

  /** Each read asks once, and goes the other way where the answer is no. `isWarm`: it is known that it comes from the page cache. */
  mayRead(isWarm: boolean): boolean {
    if (this.#balanceUs < 0 && !isWarm) {
      this.#balanceUs += fairUs
      return false
    }
    return !this.#isTurnOver
  }

  /** Reads are fast, and it is only that this turn has had its share. */
  get isSpent(): boolean {
    return this.#balanceUs >= 0 && this.#isTurnOver
  }

  /** Of a turn that is spent. */
  nextTurn(): Promise<void> {
    this.#nextTurn ??= new Promise((resolve) => {
      this.#beginTurn = resolve
    })
    return this.#nextTurn
  }

  /** A read of `bytes` at once, from `startMs` to `endMs`. */
  took(startMs: number, endMs: number, bytes: number): void {
    const leftUs = fairUs + (bytes / 1024) * fairUsPerKiB - (endMs - startMs) * 1000
    const change = leftUs < 0 ? leftUs * debtFactor : leftUs
    this.#balanceUs = Math.max(-maxDebtUs, Math.min(maxCreditUs, this.#balanceUs + change))
    if (this.#beganMs === undefined) {
      this.#beganMs = startMs
      this.#afterTurn(() => this.#turnEnded())
    }
    if (endMs - this.#beganMs >= turnMs) this.#isTurnOver = true
  }

  #turnEnded(): void {
    this.#beganMs = undefined
    this.#isTurnOver = false
    this.#nextTurn = undefined
    this.#beginTurn()
  }
}
