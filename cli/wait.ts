import type { ChangeOutcome } from '../proto/controller-client.ts'
import { OstrakaError } from '../proto/errors.ts'
import type { Change } from './change.ts'
import { CommandError, exitCode } from './exit-code.ts'
import type { Invocation } from './invocation.ts'
import { hasEnded, type MigrationJson, migrationJson, progressOf, waitText } from './migration-json.ts'
import { MoveProgress } from './move-progress.ts'
import { pollUntil } from './poll.ts'
import { listed } from './units.ts'
import type { Controllers } from './world.ts'

/**
 * Resolves when the migrations of a change have ended and what it aims at is there. FAILED, definite: one was aborted, with why. DEADLINE:
 * not within `timeoutMs`; the change stands, and what it started goes on.
 */
export async function waitForChange(
  invocation: Invocation,
  controllers: Controllers,
  change: Change,
  outcome: ChangeOutcome,
  timeoutMs: number,
): Promise<void> {
  const aim = change.aim?.(outcome)
  const moves = new Moves(outcome.migrations)
  const progress = new MoveProgress(invocation)
  let missing = ''
  try {
    const look = async (leftMs: number): Promise<true | undefined> => {
      const migrations = await moves.look(controllers, leftMs)
      await progress.update(migrations)
      const running = migrations.filter((migration) => !hasEnded(migration))
      missing = `${running.length} of its migrations still run: ${listed(running.map(shortly))}`
      if (running.length > 0) return undefined
      if (aim?.plannedAnew !== true) mustNotBeAborted(migrations)
      missing = (await aim?.missing(controllers, leftMs)) ?? ''
      if (missing !== '') progress.tell(missing)
      return missing === '' ? true : undefined
    }
    const reached = await pollUntil(timeoutMs, (leftMs) => answered(look(leftMs)))
    if (reached === true) return
  } finally {
    progress.stop()
  }
  const seconds = Math.round(timeoutMs / 100) / 10
  const text = `accepted as config ${outcome.configNumber}, but after ${seconds} s ${missing || 'nothing is known of it'}`
  throw new CommandError(exitCode.unavailable, 'DEADLINE', text, false)
}

/** Undefined: no controller answered in the time that is left. The wait ends with what was seen last, not with how its last question ended. */
async function answered<T>(asked: Promise<T>): Promise<T | undefined> {
  try {
    return await asked
  } catch (error) {
    if (error instanceof OstrakaError && error.code === 'UNAVAILABLE') return undefined
    throw error
  }
}

/** The migrations of one change, of which each end is remembered once it was seen: the controllers forget. */
class Moves {
  /** By id, as seen last. */
  readonly #seen = new Map<number, MigrationJson>()
  /** Not seen to have ended. */
  readonly #open: Set<number>

  constructor(ids: readonly number[]) {
    this.#open = new Set(ids)
  }

  /** All that were ever seen. One that the controllers have forgotten is done: a failure they remember until a thousand others have come since. */
  async look(controllers: Controllers, timeoutMs: number): Promise<readonly MigrationJson[]> {
    if (this.#open.size > 0) {
      const { migrations } = await controllers.listMigrations({ ids: [...this.#open] }, { timeoutMs })
      const told = new Map(migrations.map((migration) => [migration.id ?? 0, migrationJson(migration)]))
      for (const id of this.#open) {
        const migration = told.get(id)
        if (migration === undefined) this.#forgotten(id)
        else this.#seen.set(id, migration)
        if (migration === undefined || hasEnded(migration)) this.#open.delete(id)
      }
    }
    return [...this.#seen.values()]
  }

  #forgotten(id: number): void {
    const before = this.#seen.get(id)
    if (before !== undefined) this.#seen.set(id, { ...before, phase: 'done' })
  }
}

function mustNotBeAborted(migrations: readonly MigrationJson[]): void {
  const aborted = migrations.filter(({ phase }) => phase === 'aborted')
  const [first] = aborted
  if (first === undefined) return
  const which = `migration ${first.id} (shards ${listed(first.shards)} from ${first.from} to ${first.to}) was aborted: ${first.reason ?? 'no reason given'}`
  const more = aborted.length === 1 ? '' : `; so were ${aborted.length - 1} more`
  throw new CommandError(exitCode.failed, 'FAILED', `${which}${more}: see 'ostraka admin migrations'`, false)
}

function shortly(migration: MigrationJson): string {
  const { id, phase, paused } = migration
  const waits = waitText(migration)
  return `${id} (${paused ? 'paused' : phase} ${Math.floor(progressOf(migration) * 100)} %${waits === '' ? '' : `, waits for ${waits}`})`
}
