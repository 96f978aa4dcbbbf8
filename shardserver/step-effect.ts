import type { KeyRange } from '../lsm/index.ts'
import { deltaRange } from './delta.ts'
import type { MigrationStep } from './migration-entry.ts'
import type { ShardMove } from './migration-plan.ts'
import { shardRange } from './record.ts'
import { isDigestOfNothing } from './record-digest.ts'
import type { GroupSmallState } from './small-state.ts'

/** What a step asks of the store, once what its entry wrote is in there; the caller does it in the same turn. */
export interface StepEffect {
  readonly step: MigrationStep
  readonly index: number
  /** To be emptied. */
  readonly excised: readonly KeyRange[]
  /** Files are to be made. */
  readonly cut: boolean
  /** Files are to be taken in. */
  readonly ingest: boolean
  /** The migration is over here. */
  readonly ended: boolean
  /** The store is sealed with it. */
  readonly seals: boolean
}

/** `state`: that before the step, of which `moves` are what was planned. */
export function effectOf(state: GroupSmallState, moves: readonly ShardMove[], step: MigrationStep, index: number): StepEffect {
  // A cut of nothing has no files: the target's shards become what shards are at birth, and the log alone brings it to each replica.
  const hasFiles = moves.some(({ next }) => !isDigestOfNothing(next.digest))
  const effects = new Set(moves.map(({ effect }) => effect))
  const excised = moves.flatMap((move) => excisedBy(state, move, hasFiles) ?? [])
  const cut = effects.has('cut') && hasFiles
  const ingest = effects.has('ingest') && hasFiles
  const ended = effects.has('excise') || effects.has('end-export')
  return { step, index, excised, cut, ingest, ended, seals: excised.length > 0 || cut || ingest }
}

/** There is nothing of the shard but its small state. Each range that is excised cuts tables in two, so this one is not: there may be thousands in one entry. */
export function isBare(state: GroupSmallState, shard: number): boolean {
  return state.shards.get(shard)?.isUntouched === true && !hasDelta(state, shard)
}

function excisedBy(state: GroupSmallState, { shard, effect }: ShardMove, hasFiles: boolean): KeyRange | undefined {
  switch (effect) {
    case 'excise':
      return isBare(state, shard) ? undefined : shardRange(shard)
    case 'ingest':
      return hasFiles ? shardRange(shard) : undefined
    case 'end-export':
    case 'cut':
      return hasDelta(state, shard) ? deltaRange(shard) : undefined
    default:
      return undefined
  }
}

/** Of its newest cut: what was kept since an older one went with that. */
function hasDelta(state: GroupSmallState, shard: number): boolean {
  return (state.shards.get(shard)?.record.count ?? 0) > 0
}
