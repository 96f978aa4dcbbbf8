/** What abstract-level's iterators reject with once their signal is aborted; its own class is not exported. */
export class AbortError extends Error {
  override readonly name = 'AbortError'
  readonly code = 'LEVEL_ABORTED'

  constructor(signal: AbortSignal) {
    super('Operation has been aborted', { cause: signal.reason })
  }
}

/** Of a method that abstract-level does not know; those that it knows throw the same. */
export class NotOpenError extends Error {
  override readonly name = 'NotOpenError'
  readonly code = 'LEVEL_DATABASE_NOT_OPEN'

  constructor() {
    super('Database is not open')
  }
}
