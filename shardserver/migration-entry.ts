import { type ByteReader, ByteWriter } from '../base/bytes.ts'
import { encoded } from '../proto/encode.ts'
import { limits } from '../proto/limits.ts'
import { pb } from '../proto/messages.ts'
import { digestBytes } from './record-digest.ts'
import type { MigrationOutcome } from './shard-state.ts'

/**
 * The steps of moving shards, as entries of a group's log (kinds 16 to 23). Each names the migration and all of its shards: it is applied to
 * all of them or to none. Bodies, numbers as varints, behind the entry's header:
 *
 *      all           [id][count][shards, ascending], then
 *      16 import     [attempt][length][uid of the source, UTF-8]
 *      17 export     [attempt]
 *      18 ingest     [attempt][cut][digest, 16 bytes]
 *      19 replay     [after][up to], for each shard: [length][ostraka.v1.ShardDelta]
 *      20 release
 *      21 activate   as replay, then the shards' epochs
 *      22 refuse
 *      23 outcome    [1 aborted, 2 given back, 3 done], the shards' epochs (given back) or none
 */
export type MigrationStep =
  /** Target: the migration from group `from` begins here, or takes its next attempt. */
  | { readonly kind: 'import'; readonly id: number; readonly shards: readonly number[]; readonly attempt: number; readonly from: string }
  /** Source: a cut. */
  | { readonly kind: 'export'; readonly id: number; readonly shards: readonly number[]; readonly attempt: number }
  /** Target: the files of `attempt`, cut at index `cut` of the source, come in. `digest`: of their records, 16 bytes. */
  | {
      readonly kind: 'ingest'
      readonly id: number
      readonly shards: readonly number[]
      readonly attempt: number
      readonly cut: number
      readonly digest: Uint8Array
    }
  /** Target: what the source's commands behind `after` up to `upTo` were; `deltas` by place in `shards`. */
  | ({ readonly kind: 'replay' } & Replayed)
  /** Source: shown the commit. */
  | { readonly kind: 'release'; readonly id: number; readonly shards: readonly number[] }
  /** Target: the last commands, `upTo` being the index of the release; deltas with revision and time. `epochs` by place in `shards`. */
  | ({ readonly kind: 'activate'; readonly epochs: readonly number[] } & Replayed)
  /** Target: gives up, for good. */
  | { readonly kind: 'refuse'; readonly id: number; readonly shards: readonly number[] }
  /** What the controllers decided. `epochs` by place in `shards`: the source's new ones, with 'given-back'; else empty. */
  | {
      readonly kind: 'outcome'
      readonly id: number
      readonly shards: readonly number[]
      readonly outcome: MigrationOutcome
      readonly epochs: readonly number[]
    }

interface Replayed {
  readonly id: number
  readonly shards: readonly number[]
  readonly after: number
  readonly upTo: number
  readonly deltas: readonly pb.v1.ShardDelta.$Properties[]
}

/** By the number of their kind less 16. */
export const stepKinds = ['import', 'export', 'ingest', 'replay', 'release', 'activate', 'refuse', 'outcome'] as const
const outcomes: readonly MigrationOutcome[] = ['aborted', 'given-back', 'done']

/** The body. RangeError where a decoder would not take it: an entry that is in the log and cannot be read would stop every replica. */
export function encodeStep(step: MigrationStep): Uint8Array {
  mustBeNamed(step)
  const writer = new ByteWriter(64 + 3 * step.shards.length)
  writer.varint(step.id)
  writer.varint(step.shards.length)
  for (const shard of step.shards) writer.varint(shard)
  if (step.kind === 'import' || step.kind === 'export' || step.kind === 'ingest') writer.varint(step.attempt)
  if (step.kind === 'import') writer.bytes(new TextEncoder().encode(step.from))
  else if (step.kind === 'ingest') {
    if (step.digest.length !== digestBytes) throw new RangeError(`a digest of ${step.digest.length} bytes`)
    writer.varint(step.cut)
    writer.raw(step.digest)
  } else if (step.kind === 'replay' || step.kind === 'activate') {
    mustFit(step.deltas, step.shards)
    for (const [i, { shard }] of step.deltas.entries()) mustBeInPlace(shard, step.shards[i])
    writer.varint(step.after)
    writer.varint(step.upTo)
    for (const delta of step.deltas) writer.bytes(encoded(pb.v1.ShardDelta, delta))
  }
  if (step.kind === 'outcome') writer.u8(outcomes.indexOf(step.outcome) + 1)
  if (step.kind === 'activate' || (step.kind === 'outcome' && step.outcome === 'given-back')) {
    mustFit(step.epochs, step.shards)
    for (const epoch of step.epochs) writer.varint(epoch)
  }
  return writer.finish()
}

/** Reads a body to its end. Throws RangeError, or what protobufjs throws, on what is none. */
export function decodeStep(kind: MigrationStep['kind'], reader: ByteReader): MigrationStep {
  const id = reader.varint()
  const shards = readShards(reader)
  mustBeNamed({ id, shards })
  const step = decodeRest(kind, id, shards, reader)
  if (!reader.done) throw new RangeError('bytes behind the end')
  return step
}

function decodeRest(kind: MigrationStep['kind'], id: number, shards: readonly number[], reader: ByteReader): MigrationStep {
  switch (kind) {
    case 'import':
      return { kind, id, shards, attempt: reader.varint(), from: new TextDecoder().decode(reader.bytes()) }
    case 'export':
      return { kind, id, shards, attempt: reader.varint() }
    case 'ingest':
      return { kind, id, shards, attempt: reader.varint(), cut: reader.varint(), digest: reader.raw(digestBytes) }
    case 'replay':
      return { kind, ...readReplayed(id, shards, reader) }
    case 'activate':
      return { kind, ...readReplayed(id, shards, reader), epochs: shards.map(() => reader.varint()) }
    case 'release':
    case 'refuse':
      return { kind, id, shards }
    case 'outcome': {
      const outcome = outcomes[reader.u8() - 1]
      if (outcome === undefined) throw new RangeError('unknown outcome')
      return { kind, id, shards, outcome, epochs: outcome === 'given-back' ? shards.map(() => reader.varint()) : [] }
    }
  }
}

function readReplayed(id: number, shards: readonly number[], reader: ByteReader): Replayed {
  const after = reader.varint()
  const upTo = reader.varint()
  const deltas = shards.map((shard) => {
    const delta = pb.v1.ShardDelta.decode(reader.bytes())
    mustBeInPlace(delta.shard, shard)
    return delta
  })
  return { id, shards, after, upTo, deltas }
}

function readShards(reader: ByteReader): readonly number[] {
  const count = reader.varint()
  if (count > limits.shardCountMax) throw new RangeError(`a migration of ${count} shards`)
  return Array.from({ length: count }, () => reader.varint())
}

function mustBeNamed({ id, shards }: { readonly id: number; readonly shards: readonly number[] }): void {
  if (id < 1) throw new RangeError('migrations count from 1')
  if (shards.length < 1 || shards.length > limits.shardCountMax) throw new RangeError(`a migration of ${shards.length} shards`)
  for (const [i, shard] of shards.entries()) {
    if (shard >= limits.shardCountMax || shard <= (shards[i - 1] ?? -1)) throw new RangeError(`shard ${shard} out of order`)
  }
}

function mustBeInPlace(given: number | null | undefined, shard: number | undefined): void {
  if ((given ?? 0) !== shard) throw new RangeError(`a delta of shard ${given} in the place of ${shard}`)
}

function mustFit(list: readonly unknown[], shards: readonly number[]): void {
  if (list.length !== shards.length) throw new RangeError(`${list.length} entries for ${shards.length} shards`)
}
