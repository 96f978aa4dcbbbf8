/**
 * The kinds of error below the wire. Three kinds exist and are never mixed: a typed refusal for a caller (`proto/errors.ts`), corruption,
 * a failing disk or a folder that is another's (here), and our own bug (`base/assert.ts`).
 */

/** A block of a table of the storage engine (`lsm/table-format.ts`). */
export type BlockKind = 'data' | 'filter' | 'index' | 'properties' | 'footer'

/** Bytes on disk are not what was written there. Names the file and, where known, the offset; of a table the kind of block, too. */
export class CorruptionError extends Error {
  override readonly name: string = 'CorruptionError'
  readonly file: string
  readonly offset: number | undefined
  /** What begins at `offset`. Undefined: no block, or none that is known; a record of a log or a manifest is told by its offset. */
  readonly block: BlockKind | undefined
  /** The message without the place. */
  readonly what: string

  constructor(file: string, offset: number | undefined, what: string, block?: BlockKind) {
    super(`${file}${placeText(offset, block)}: ${what}`)
    this.file = file
    this.offset = offset
    this.block = block
    this.what = what
  }
}

function placeText(offset: number | undefined, block: BlockKind | undefined): string {
  const at = offset === undefined ? '' : ` at offset ${offset}`
  if (block === undefined) return at
  return `${at}, ${block === 'footer' ? 'footer' : `${block} block`}`
}

/** Whole, and of a format that this release does not know: no damage, so nothing is given up for it. To who opens the file it comes to the same. */
export class NewerFormatError extends CorruptionError {
  override readonly name = 'NewerFormatError'
}

/** An fsync, or a write that must not fail, did. Final for the process: exit code 74. */
export class DiskError extends Error {
  override readonly name = 'DiskError'
  /** The system's code of the cause ('EIO', 'ENOSPC', …), where there is one. */
  readonly code: string | undefined

  constructor(what: string, options?: ErrorOptions) {
    super(what, options)
    this.code = systemErrorCode(options?.cause)
  }
}

/** It was used after it was closed or released. */
export class ClosedError extends Error {
  override readonly name = 'ClosedError'
}

/** This data directory belongs to another node or cluster, or is none of ours: exit code 78. */
export class DataDirectoryMismatch extends Error {
  override readonly name = 'DataDirectoryMismatch'
}

/** The `code` of an error of the operating system ('ENOENT', 'ENOSPC', …), or undefined; not that of one of Node's own ('ERR_…'). */
export function systemErrorCode(error: unknown): string | undefined {
  const code = codeOf(error)
  return code?.startsWith('ERR_') ? undefined : code
}

/** The `code` of any error that has one: the system's, or one of Node's own ('ERR_…'). */
export function codeOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined
  return typeof error.code === 'string' ? error.code : undefined
}
