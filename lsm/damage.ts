import { CorruptionError, NewerFormatError } from '../base/errors.ts'

/** Something in a file that is not what was written there, or a file that is missing. */
export interface Damage {
  readonly file: string
  /** Undefined: of the file as a whole. */
  readonly offset?: number
  /** Which data block of a table, from 0. */
  readonly block?: number
  readonly what: string
  /** No damage: a newer release wrote what this one cannot read. */
  readonly isNewer?: true
}

/** For a CorruptionError; throws anything else on. */
export function damageOf(error: unknown, block?: number): Damage {
  if (!(error instanceof CorruptionError)) throw error
  return {
    file: error.file,
    ...(error.offset === undefined ? {} : { offset: error.offset }),
    ...(block === undefined ? {} : { block }),
    what: error.what,
    ...(error instanceof NewerFormatError ? { isNewer: true } : {}),
  }
}

/** The other way. */
export function errorOf({ file, offset, block, what, isNewer }: Damage): CorruptionError {
  const kind = block === undefined ? undefined : 'data'
  return isNewer ? new NewerFormatError(file, offset, what, kind) : new CorruptionError(file, offset, what, kind)
}

export function damageText({ file, offset, block, what }: Damage): string {
  const place = [...(offset === undefined ? [] : [`at offset ${offset}`]), ...(block === undefined ? [] : [`block ${block}`])]
  return `${file}${place.length === 0 ? '' : ` ${place.join(', ')}`}: ${what}`
}
