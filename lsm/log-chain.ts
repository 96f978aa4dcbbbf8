/** One log as it was found. */
export interface FoundLog {
  readonly number: number
  readonly path: string
  /** Where its whole records end. */
  readonly end: number
  /** Below here it was durable. */
  readonly durable: number
  /** The log before it, as its start record says; undefined: it holds no record. */
  readonly previous: number | undefined
  /** It was ended: nothing of it is missing. */
  readonly isEnded: boolean
}

/** The log in which a close left records, up to `end`. */
export interface ClosedFile {
  readonly number: number
  readonly path: string
  readonly end: number
}

export type LogVerdict =
  | { readonly kind: 'counts' }
  /** It was made ahead and never begun, or lost with the tail of the log before it, of which nothing was durable either. */
  | { readonly kind: 'nothing' }
  | { readonly kind: 'lost'; readonly behind: number }
  | { readonly kind: 'damage'; readonly path: string; readonly offset: number; readonly what: string }

/**
 * Which logs of a folder count, asked for one after the other, oldest first. A log is made before it is needed, and one that was made may never be
 * begun; it is begun when the one before it was ended, whose number it carries, and nothing of it is synced before that one is. So a log that lacks its
 * end takes along the one behind it, or, where something of that was durable, is damaged.
 */
export class LogChain {
  readonly #first: number
  /** Not met yet. */
  #closed: ClosedFile | undefined
  /** The last log that was begun. */
  #last: FoundLog | undefined
  /** Without a record. */
  #empty: FoundLog[] = []
  /** Where the chain broke off. */
  #brokenAt: FoundLog | undefined

  /** `first`: number of the oldest log that counts; what is older may be gone. `closed`: what the last close left, if it left anything. */
  constructor(first: number, closed?: ClosedFile) {
    this.#first = first
    this.#closed = closed
  }

  next(log: FoundLog): LogVerdict {
    const closed = this.#closed?.number === log.number ? this.#closed : undefined
    if (closed !== undefined) this.#closed = undefined
    if (closed !== undefined && log.end < closed.end) {
      return { kind: 'damage', path: log.path, offset: log.end, what: `the log ends here, and was closed at ${closed.end}` }
    }
    if (log.previous === undefined) {
      this.#empty.push(log)
      return { kind: 'nothing' }
    }
    const before = this.#before(log.previous)
    this.#empty = []
    if (this.#brokenAt === undefined && before !== undefined && !before.isEnded) this.#brokenAt = before
    if (this.#brokenAt !== undefined) {
      if (log.durable > 0) return { kind: 'damage', path: this.#brokenAt.path, offset: this.#brokenAt.end, what: 'the log ends too early' }
      return { kind: 'lost', behind: this.#brokenAt.end }
    }
    this.#last = log
    if (before !== undefined || log.previous < this.#first) return { kind: 'counts' }
    return { kind: 'damage', path: log.path, offset: 0, what: `log ${log.previous}, which comes before it, is missing` }
  }

  /** Of a log that is not looked at, what comes before and behind it cannot be judged. */
  skip(): void {
    this.#last = undefined
    this.#empty = []
    this.#brokenAt = undefined
    this.#closed = undefined
  }

  /** After the last one. A log is ended when the next one is there, with a durable name. */
  finish(): LogVerdict {
    if (this.#closed !== undefined)
      return { kind: 'damage', path: this.#closed.path, offset: 0, what: 'missing, though a close left records in it' }
    const { isEnded, path, end } = this.#last ?? { isEnded: false, path: '', end: 0 }
    if (!isEnded || this.#empty.length > 0 || this.#brokenAt !== undefined) return { kind: 'nothing' }
    return { kind: 'damage', path, offset: end, what: 'the log that comes after it is missing' }
  }

  #before(number: number): FoundLog | undefined {
    if (this.#last?.number === number) return this.#last
    return this.#empty.find((log) => log.number === number)
  }
}
