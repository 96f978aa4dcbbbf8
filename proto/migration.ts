import { pb } from './messages.ts'

/** A set of shards on its way from one group to another, as the controllers' log has it. DESIGN §11. */

/**
 * copying → committed, aborted; committed → done, given-back; those three are ends. The commit is the single point of decision: before it
 * abort, after it only forward, or given back by a refusal that the target has logged.
 */
export type MigrationPhase = 'copying' | 'committed' | 'done' | 'aborted' | 'given-back'

export interface Migration {
  /** Used once in the life of the cluster, rising. From 1. */
  readonly id: number
  /** Ascending, at least one. */
  readonly shards: readonly number[]
  /** Uids. */
  readonly from: string
  readonly to: string
  readonly phase: MigrationPhase
  /** The target is to make no progress. */
  readonly paused: boolean
  /** Of the commit or of the give-back; 0 before. */
  readonly configNumber: number
  /** By place in `shards`: the epoch under the owner that commit or give-back decided; empty before. */
  readonly epochs: readonly number[]
  /** Nothing of the ended migration is left in the source, in the target. */
  readonly fromConfirmed: boolean
  readonly toConfirmed: boolean
}

export function isEnded(phase: MigrationPhase): boolean {
  return phase === 'done' || phase === 'aborted' || phase === 'given-back'
}

const phases: readonly MigrationPhase[] = ['copying', 'committed', 'done', 'aborted', 'given-back']

export function encodePhase(phase: MigrationPhase): pb.v1.MigrationPhase {
  return phases.indexOf(phase) as pb.v1.MigrationPhase
}

export function encodeMigration(migration: Migration): pb.v1.Migration.$Properties {
  const { id, from, to, paused, configNumber, fromConfirmed, toConfirmed } = migration
  const shards = [...migration.shards]
  const epochs = [...migration.epochs]
  return { id, shards, from, to, phase: encodePhase(migration.phase), paused, configNumber, epochs, fromConfirmed, toConfirmed }
}

/** RangeError on what is no migration. */
export function decodeMigration(message: pb.v1.Migration.$Properties): Migration {
  const id = message.id ?? 0
  const shards = message.shards ?? []
  const epochs = message.epochs ?? []
  const phase = phases[message.phase ?? pb.v1.MigrationPhase.COPYING]
  const ascends = shards.every((shard, i) => i === 0 || shard > (shards[i - 1] ?? 0))
  if (!Number.isSafeInteger(id) || id < 1 || phase === undefined) throw new RangeError(`no migration: id ${id}, phase ${message.phase}`)
  if (shards.length === 0 || !ascends) throw new RangeError(`migration ${id} of shards ${shards.join(', ')}`)
  if (epochs.length !== 0 && epochs.length !== shards.length) throw new RangeError(`migration ${id} with ${epochs.length} epochs`)
  if (!message.from || !message.to || message.from === message.to)
    throw new RangeError(`migration ${id} from ${message.from} to ${message.to}`)
  return {
    id,
    shards,
    from: message.from,
    to: message.to,
    phase,
    paused: message.paused ?? false,
    configNumber: message.configNumber ?? 0,
    epochs,
    fromConfirmed: message.fromConfirmed ?? false,
    toConfirmed: message.toConfirmed ?? false,
  }
}

/**
 * How a migration stands by a report's answer. One that is over and that the controllers remember no more is told by its id alone: aborted,
 * without shards and groups. RangeError on what is no migration.
 */
export function decodeReported(message: pb.v1.Migration.$Properties): Migration {
  const isForgotten = message.phase === pb.v1.MigrationPhase.ABORTED && (message.shards ?? []).length === 0
  if (!isForgotten) return decodeMigration(message)
  const decided = { configNumber: 0, epochs: [], fromConfirmed: true, toConfirmed: true }
  return { id: message.id ?? 0, shards: [], from: '', to: '', phase: 'aborted', paused: false, ...decided }
}
