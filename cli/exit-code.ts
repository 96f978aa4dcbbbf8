import { CorruptionError, DataDirectoryMismatch, DiskError, systemErrorCode } from '../base/errors.ts'
import { type ErrorCode, OstrakaError } from '../proto/errors.ts'

/** CONTRACT's exit codes. */
export const exitCode = {
  done: 0,
  failed: 1,
  usage: 2,
  keyNotFound: 3,
  conditionFailed: 4,
  damaged: 65,
  unavailable: 69,
  diskError: 74,
  wrongDirectory: 78,
} as const

export type ExitCode = (typeof exitCode)[keyof typeof exitCode]

/** A failure that a command has already put into words. `code` is what `--json` shows. */
export class CommandError extends Error {
  override readonly name = 'CommandError'
  readonly exitCode: ExitCode
  readonly code: string
  readonly definite: boolean

  constructor(exitCode: ExitCode, code: string, message: string, definite = true) {
    super(message)
    this.exitCode = exitCode
    this.code = code
    this.definite = definite
  }
}

/** The user's mistake: exit code 2. */
export function usageError(message: string): CommandError {
  return new CommandError(exitCode.usage, 'INVALID_ARGUMENT', message)
}

/** What is over once the deadline is: nobody who could serve was found in time. */
const unavailableCodes: ReadonlySet<ErrorCode> = new Set([
  'UNAVAILABLE',
  'DEADLINE',
  'NOT_LEADER',
  'WRONG_GROUP',
  'SHARD_MOVING',
  'OVERLOADED',
])

export interface Failure {
  readonly exitCode: ExitCode
  readonly code: string
  /** One line. */
  readonly message: string
  readonly definite: boolean
}

/** How a failure is told to people and scripts. */
export function failureOf(error: unknown): Failure {
  const message = oneLine(error instanceof Error ? error.message : String(error))
  if (error instanceof CommandError) return { exitCode: error.exitCode, code: error.code, message, definite: error.definite }
  if (error instanceof OstrakaError) return { exitCode: exitCodeOf(error.code), code: error.code, message, definite: error.definite }
  if (error instanceof DataDirectoryMismatch) return { exitCode: exitCode.wrongDirectory, code: 'WRONG_DIRECTORY', message, definite: true }
  if (error instanceof CorruptionError) return { exitCode: exitCode.damaged, code: 'CORRUPTION', message, definite: true }
  if (error instanceof DiskError) return { exitCode: exitCode.diskError, code: 'DISK_ERROR', message, definite: false }
  return { exitCode: exitCode.failed, code: 'FAILED', message, definite: false }
}

const diskCodes: ReadonlySet<string | undefined> = new Set(['EIO', 'ENOSPC', 'EDQUOT', 'EROFS'])

/** What ended a server process: it writes to its own folder only, so where the system says that it cannot, the disk has failed. */
export function asDiskError(error: unknown): unknown {
  if (error instanceof DiskError || !diskCodes.has(systemErrorCode(error))) return error
  return new DiskError(error instanceof Error ? error.message : String(error), { cause: error })
}

function exitCodeOf(code: ErrorCode): ExitCode {
  if (code === 'CONDITION_FAILED') return exitCode.conditionFailed
  return unavailableCodes.has(code) ? exitCode.unavailable : exitCode.failed
}

export function oneLine(text: string): string {
  return text.replace(/\s*\n\s*/g, ' ').trim()
}
