import type { Command } from 'commander'
import type { ChangeOutcome, ControllerCallOptions } from '../proto/controller-client.ts'
import type { pb } from '../proto/messages.ts'
import { listed } from './units.ts'
import type { Controllers } from './world.ts'

/** How long `--wait` waits where --timeout does not say, seconds. */
export const waitSeconds = 600

export const waitHelp = `return when the shards have moved (for at most ${waitSeconds} s, or --timeout)`

/** The flags of every command that makes a change. */
export interface ChangeFlags {
  readonly wait?: boolean
  readonly requestId?: string
}

/** `wait`: what --wait does, where there is something to wait for. */
export function addChangeFlags(command: Command, wait?: string): Command {
  if (wait !== undefined) command.option('--wait', wait)
  return command.option('--request-id <id>', 'a name of your own for this one change: asked for again under it, it is not made twice')
}

/** A change of the cluster that an admin asks for: made at once, or planned first. */
export interface Change {
  /** Makes it, on whatever there is, or refused where that is not `base`. */
  make(controllers: Controllers, base: Base, options: ControllerCallOptions): Promise<ChangeOutcome>
  /** What --wait waits for once no migration of it runs any more: a new function for each change made. Missing: nothing. */
  readonly aim?: (outcome: ChangeOutcome) => Aim
}

/** What a plan builds on; zeros: whatever there is. */
export interface Base {
  /** Config number. */
  readonly base: number
  /** The plan's mark of the migrations. */
  readonly baseMigrations: number
}

export const anyBase: Base = { base: 0, baseMigrations: 0 }

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
