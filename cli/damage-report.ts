import { DiskError, systemErrorCode } from '../base/errors.ts'
import { damageOf } from '../lsm/damage.ts'
import { type Damage, damageText } from '../lsm/index.ts'
import { CommandError, type ExitCode, exitCode } from './exit-code.ts'
import type { Invocation } from './invocation.ts'

/** How the offline tools tell what is damaged. */

export function withoutSlash(path: string): string {
  return path.length > 1 ? path.replace(/\/+$/, '') : path
}

/** Prints the JSON, tells people what is damaged, unless they have been told, and returns the exit code for it. */
export function tellDamage(
  invocation: Invocation,
  json: object,
  damages: readonly Damage[],
  people: 'told' | 'untold' = 'untold',
): ExitCode {
  const error = damageError(damages)
  if (invocation.json) invocation.print({ ...json, ...(error === undefined ? {} : { error }) }, '')
  if (error === undefined) return exitCode.done
  if (!invocation.json && people === 'untold') for (const damage of damages) invocation.print(undefined, `damaged: ${damageText(damage)}`)
  invocation.say(`ostraka: ${error.message}`)
  return exitCode.damaged
}

function damageError(damages: readonly Damage[]): { code: string; message: string; definite: boolean } | undefined {
  const [first] = damages
  if (first === undefined) return undefined
  const more = damages.length === 1 ? '' : ` (and ${damages.length - 1} more)`
  return { code: 'CORRUPTION', message: `${damageText(first)}${more}`, definite: true }
}

/** What the operating system refuses is told as the disk's error, 74. */
export async function withDiskErrors<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (systemErrorCode(error) === undefined || error instanceof DiskError || error instanceof CommandError) throw error
    throw new DiskError(`${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
  }
}

/** What `read` returns; undefined where it meets damage, which is added to `damages`. */
export function readOr<T>(damages: Damage[], read: () => T): T | undefined {
  try {
    return read()
  } catch (error) {
    damages.push(damageOf(error))
    return undefined
  }
}
