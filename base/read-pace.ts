/**
 * Whether a file may be read at once, in the thread that asks: a read from the page cache takes 2 us so, and 5 to 10 through a thread pool; a read
 * from the disk would stop everything else for as long as it takes.
 *
 * An account: a read at once may take `fairUs`. What it takes beyond that, several times over, is a debt, and each read that goes the other way
 * repays `fairUs`. So where reads come from the disk one in some dozens is tried at once, and after one that took 10 ms none for thousands.
 */
const fairUs = 25
const debtFactor = 8
const maxDebtUs = 400_000
/** A caller that reads one block after the other never waits: others get their turn after so many. */
const readsPerTurn = 128

export class ReadPace {
  readonly #afterTurn: (turnEnded: () => void) => void
  #debtUs = 0
  #readsOfTurn = 0
  #nextTurn: Promise<void> | undefined
  #beginTurn: () => void = () => {}

  /** `afterTurn` calls back when others have had their turn. */
  constructor(afterTurn: (turnEnded: () => void) => void) {
    this.#afterTurn = afterTurn
  }

  /** Each read asks once, and goes the other way where the answer is no. */
  mayRead(): boolean {
    if (this.#debtUs > 0) {
      this.#debtUs -= fairUs
      return false
    }
    return this.#readsOfTurn < readsPerTurn
  }

  /** Reads are fast, and it is only that this turn has had its share. */
  get isSpent(): boolean {
    return this.#debtUs <= 0 && this.#readsOfTurn >= readsPerTurn
  }

  /** Of a turn that is spent. */
  nextTurn(): Promise<void> {
    this.#nextTurn ??= new Promise((resolve) => {
      this.#beginTurn = resolve
    })
    return this.#nextTurn
  }

  /** A read at once took `us`. */
  took(us: number): void {
    if (us > fairUs) this.#debtUs = Math.min(maxDebtUs, (us - fairUs) * debtFactor)
    if (this.#readsOfTurn++ === 0) this.#afterTurn(() => this.#turnEnded())
  }

  #turnEnded(): void {
    this.#readsOfTurn = 0
    this.#nextTurn = undefined
    this.#beginTurn()
  }
}
