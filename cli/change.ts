import type { ChangeOutcome, ControllerCallOptions } from '../proto/controller-client.ts'
import type { pb } from '../proto/messages.ts'
import { listed } from './units.ts'
import type { Controllers } from './world.ts'

/** How long `--wait` waits where --timeout does not say, seconds. */
export const waitSeconds = 600

export const waitHelp = `return when the shards have moved (for at most ${waitSeconds} s, or --timeout)`

/** A change of the cluster that an admin asks for: made at once, or planned first. */
export interface Change {
  /** Makes it. `base`: refused where the newest config has another number; 0: whatever it is. */
  make(controllers: Controllers, base: number, options: ControllerCallOptions): Promise<ChangeOutcome>
  /** What --wait waits for once no migration of it runs any more: a new function for each change made. Missing: nothing. */
  readonly aim?: (outcome: ChangeOutcome) => Aim
}

/** A change that `admin plan` can ask about. */
export interface PlannableChange extends Change {
  readonly plan: pb.v1.PlanRequest.$Properties
}

export interface Aim {
  /** Undefined: reached. Else what is missing, for people. */
  missing(controllers: Controllers, timeoutMs: number): Promise<string | undefined>
  /** The controllers plan anew what was aborted: an aborted migration does not end the wait. */
  readonly plannedAnew: boolean
}

export function outcomeJson({ configNumber, note, migrations }: ChangeOutcome): object {
  return { configNumber, ...(note ? { note } : {}), migrations: [...migrations] }
}

export function outcomeText({ configNumber, note, migrations }: ChangeOutcome): string {
  const count = migrations.length
  const moving = count === 0 ? '' : `; migration${count === 1 ? '' : 's'} ${listed(migrations)}`
  return `config ${configNumber}${note ? `: ${note}` : ''}${moving}`
}
