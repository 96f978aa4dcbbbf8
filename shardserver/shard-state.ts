import { ByteReader, ByteWriter, emptyBytes } from '../base/bytes.ts'

/**
 * The states of a shard within one group, as one pure function: what a logged entry does to a shard's migration record, or why it is
 * refused. Every check is made where the entry is applied, so a late, doubled or reordered proposal is just an entry that is refused.
 * `docs/shard-states.md` has the table; DESIGN §11 and its model have the proof.
 *
 *  - A group keeps for each shard the newest migration id that it took part in, also while the shard is absent. `import` and the first
 *    `export` need a newer id; every other entry needs exactly this id.
 *  - An id is one migration; an attempt (1, 2, …) is one cut of it.
 *  - The epoch is the newest under which the group held the shard, also while the shard is absent: a rebirth needs a newer one, so that an
 *    order of the controllers that comes twice does nothing the second time.
 *  - Everything not named in the table is refused and changes nothing.
 */
export type ShardStateName = 'unborn' | 'absent' | 'serving' | 'exporting' | 'released' | 'importing' | 'refused'

export interface ShardRecord {
  readonly state: ShardStateName
  /** Newest migration that the group took part in with this shard; 0: none. Only rises. */
  readonly newestId: number
  /** The cut: of the export, or the one that the import takes. 0 outside a migration. */
  readonly attempt: number
  /** importing: the files of `attempt` are in. */
  readonly ingested: boolean
  /** importing: index of the source's log up to which its commands are in. 0 before the ingest. */
  readonly cursor: number
  /** released: index of this group's log from which it refuses. 0 otherwise. */
  readonly releasedAt: number
  /** exporting, released: index of this group's log at which the newest cut was made. 0 otherwise. */
  readonly cut: number
  /** Commands kept (source) or replayed (target) since the cut; 0 outside a migration. */
  readonly count: number
  /** Their chained checksum. */
  readonly checksum: number
  /**
   * importing, with its files: the digest of the cut that they are, for the history. exporting, released: `digestOfNothing` where the newest cut has no
   * files. Else empty.
   */
  readonly digest: Uint8Array
  /** Newest epoch under which the group held the shard; 0: never. Only rises. */
  readonly epoch: number
}

export const unbornShard: ShardRecord = {
  state: 'unborn',
  newestId: 0,
  attempt: 0,
  ingested: false,
  cursor: 0,
  releasedAt: 0,
  cut: 0,
  count: 0,
  checksum: 0,
  digest: emptyBytes,
  epoch: 0,
}

export type ShardEvent =
  | { readonly kind: 'birth' }
  /** Made empty again: the controllers gave up what another group held. */
  | { readonly kind: 'rebirth'; readonly epoch: number }
  /** Target: the migration begins, or (without files) takes its next attempt. */
  | { readonly kind: 'import'; readonly id: number; readonly attempt: number }
  /** Source: a cut; `index` is this entry's. `digest`: `digestOfNothing`, or empty where only the files will tell. */
  | { readonly kind: 'export'; readonly id: number; readonly attempt: number; readonly index: number; readonly digest: Uint8Array }
  /** Target: a majority of voters hold the files of `attempt`, cut at index `cut` of the source; `digest`: of their records. */
  | { readonly kind: 'ingest'; readonly id: number; readonly attempt: number; readonly cut: number; readonly digest: Uint8Array }
  /** Target: the source's commands behind `after` up to `upTo`. `agrees`: with them `count` and `checksum` are the source's. */
  | ({ readonly kind: 'replay'; readonly id: number } & ReplayedCommands)
  /** Source: shown the commit; `index` is this entry's. */
  | { readonly kind: 'release'; readonly id: number; readonly index: number }
  /** Target: the last commands, up to the source's release. `agrees`: revision and time are the source's too. `epoch`: the shard's new one. */
  | ({ readonly kind: 'activate'; readonly id: number; readonly epoch: number } & ReplayedCommands)
  /** Target: gives up. */
  | { readonly kind: 'refuse'; readonly id: number }
  /** What the controller decided about exactly this id. `epoch`: the source's new one, with 'given-back'. */
  | { readonly kind: 'outcome'; readonly id: number; readonly outcome: MigrationOutcome; readonly epoch: number }

export type MigrationOutcome = 'aborted' | 'given-back' | 'done'

export interface ReplayedCommands {
  /** Indexes of the source's log. */
  readonly after: number
  readonly upTo: number
  readonly agrees: boolean
  /** Of the source at `upTo`. */
  readonly count: number
  readonly checksum: number
}

/** What the state machine has to do in the same entry. */
export type ShardEffect = 'none' | 'make-empty' | 'begin-import' | 'cut' | 'ingest' | 'replay' | 'end-export' | 'excise'

export type Transition =
  | { readonly kind: 'moved'; readonly next: ShardRecord; readonly effect: ShardEffect }
  | { readonly kind: 'refused'; readonly reason: string }

/** Writes and reads are served here. */
export function serves(state: ShardStateName): boolean {
  return state === 'serving' || state === 'exporting'
}

export function transition(record: ShardRecord, event: ShardEvent): Transition {
  switch (event.kind) {
    case 'birth':
      return birth(record)
    case 'rebirth':
      return rebirth(record, event.epoch)
    case 'import':
      return beginImport(record, event.id, event.attempt)
    case 'export':
      return beginExport(record, event.id, event)
    case 'ingest':
      return ingest(record, event.id, event)
    case 'replay':
      return replay(record, event.id, event)
    case 'release':
      return release(record, event.id, event.index)
    case 'activate':
      return activate(record, event.id, event, event.epoch)
    case 'refuse':
      return refuse(record, event.id)
    case 'outcome':
      return end(record, event.id, event.outcome, event.epoch)
  }
}

/** Epoch 1: once in the life of the group. */
function birth(record: ShardRecord): Transition {
  if (record.state !== 'unborn' || record.newestId !== 0) return refused(record, 'the group has known this shard before')
  return moved({ ...calm(record, 'serving'), epoch: 1 }, 'make-empty')
}

/** Above epoch 1, by an order of the controllers. Whatever the newest id is: the group that took part in it with this one is gone. */
function rebirth(record: ShardRecord, epoch: number): Transition {
  if (record.state !== 'unborn' && record.state !== 'absent') return refused(record, 'the shard is here')
  if (epoch < 2 || epoch <= record.epoch) return refused(record, `epoch ${epoch} is not above ${Math.max(record.epoch, 1)}`)
  return moved({ ...calm(record, 'serving'), epoch }, 'make-empty')
}

function beginImport(record: ShardRecord, id: number, attempt: number): Transition {
  if (record.state === 'unborn' || record.state === 'absent') {
    if (id <= record.newestId) return refused(record, `migration ${id} is not newer than ${record.newestId}`)
    if (attempt !== 1) return refused(record, `the first attempt is 1, not ${attempt}`)
    return moved({ ...calm(record, 'importing'), newestId: id, attempt: 1 }, 'begin-import')
  }
  if (record.state !== 'importing') return refused(record, 'the shard is here')
  const other = otherId(record, id)
  if (other !== undefined) return other
  if (record.ingested) return refused(record, 'its files are in: no further attempt')
  if (attempt !== record.attempt + 1) return refused(record, `the next attempt is ${record.attempt + 1}, not ${attempt}`)
  return moved({ ...record, attempt }, 'begin-import')
}

function beginExport(record: ShardRecord, id: number, { attempt, index, digest }: Extract<ShardEvent, { kind: 'export' }>): Transition {
  if (attempt < 1) return refused(record, 'attempts count from 1')
  if (record.state === 'serving') {
    if (id <= record.newestId) return refused(record, `migration ${id} is not newer than ${record.newestId}`)
    return moved({ ...calm(record, 'exporting'), newestId: id, attempt, cut: index, digest }, 'cut')
  }
  if (record.state !== 'exporting') return refused(record, 'nothing to export')
  const other = otherId(record, id)
  if (other !== undefined) return other
  if (attempt <= record.attempt) return refused(record, `attempt ${attempt} is not above ${record.attempt}`)
  return moved({ ...record, attempt, cut: index, count: 0, checksum: 0, digest }, 'cut')
}

function ingest(record: ShardRecord, id: number, { attempt, cut, digest }: Extract<ShardEvent, { kind: 'ingest' }>): Transition {
  if (record.state !== 'importing') return refused(record, 'no import')
  const other = otherId(record, id)
  if (other !== undefined) return other
  if (record.ingested) return refused(record, 'the files are in already')
  if (attempt !== record.attempt) return refused(record, `the import takes attempt ${record.attempt}, not ${attempt}`)
  return moved({ ...record, ingested: true, cursor: cut, digest }, 'ingest')
}

function replay(record: ShardRecord, id: number, commands: ReplayedCommands): Transition {
  const { after, upTo, agrees, count, checksum } = commands
  const bad = badCursor(record, id, after, upTo)
  if (bad !== undefined) return bad
  if (upTo === after) return refused(record, 'an empty replay')
  if (!agrees) return refused(record, 'these are not the commands of the source')
  return moved({ ...record, cursor: upTo, count, checksum }, 'replay')
}

function release(record: ShardRecord, id: number, index: number): Transition {
  if (record.state !== 'exporting') return refused(record, 'no export')
  const other = otherId(record, id)
  if (other !== undefined) return other
  return moved({ ...record, state: 'released', releasedAt: index }, 'none')
}

function activate(record: ShardRecord, id: number, { after, upTo, agrees }: ReplayedCommands, epoch: number): Transition {
  const bad = badCursor(record, id, after, upTo)
  if (bad !== undefined) return bad
  if (!agrees) return moved(calm(record, 'refused'), 'none')
  return moved({ ...calm(record, 'serving'), epoch: Math.max(epoch, record.epoch) }, 'replay')
}

function refuse(record: ShardRecord, id: number): Transition {
  if (record.state !== 'importing') return refused(record, 'no import')
  return otherId(record, id) ?? moved(calm(record, 'refused'), 'none')
}

function end(record: ShardRecord, id: number, outcome: MigrationOutcome, epoch: number): Transition {
  const other = otherId(record, id)
  if (other !== undefined) return other
  const { state } = record
  if (outcome === 'aborted' && state === 'exporting') return moved(calm(record, 'serving'), 'end-export')
  if (outcome === 'aborted' && (state === 'importing' || state === 'refused')) return moved(calm(record, 'absent'), 'excise')
  if (outcome === 'given-back' && (state === 'exporting' || state === 'released')) {
    return moved({ ...calm(record, 'serving'), epoch: Math.max(epoch, record.epoch) }, 'end-export')
  }
  if (outcome === 'given-back' && state === 'refused') return moved(calm(record, 'absent'), 'excise')
  if (outcome === 'done' && state === 'released') return moved(calm(record, 'absent'), 'excise')
  return refused(record, `${outcome} changes nothing here`)
}

function badCursor(record: ShardRecord, id: number, after: number, upTo: number): Transition | undefined {
  if (record.state !== 'importing') return refused(record, 'no import')
  const other = otherId(record, id)
  if (other !== undefined) return other
  if (!record.ingested) return refused(record, 'the files are not in')
  if (after !== record.cursor) return refused(record, `the cursor is ${record.cursor}, not ${after}`)
  return upTo < after ? refused(record, `${upTo} lies behind ${after}`) : undefined
}

function otherId(record: ShardRecord, id: number): Transition | undefined {
  return id === record.newestId && id > 0 ? undefined : refused(record, `the newest migration here is ${record.newestId}, not ${id}`)
}

/** The record in `state` with nothing of a migration but its id. */
export function calm(record: ShardRecord, state: ShardStateName): ShardRecord {
  return { ...unbornShard, state, newestId: record.newestId, epoch: record.epoch }
}

function moved(next: ShardRecord, effect: ShardEffect): Transition {
  return { kind: 'moved', next, effect }
}

function refused(record: ShardRecord, why: string): Transition {
  return { kind: 'refused', reason: `${record.state}: ${why}` }
}

const stateNumbers: Readonly<Record<ShardStateName, number>> = {
  unborn: 0,
  absent: 1,
  serving: 2,
  exporting: 3,
  released: 4,
  importing: 5,
  refused: 6,
}
const stateNames = Object.keys(stateNumbers) as readonly ShardStateName[]
/** 1: that of version 0.1, without what follows `released at`; 2: without what follows the epoch. */
const recordFormat = 3

/**
 * [format u8 = 3][state u8][newest id][attempt][ingested u8][cursor][released at][cut][count][checksum][epoch][length][digest], numbers as
 * varints.
 */
export function encodeShardRecord(record: ShardRecord): Uint8Array {
  const writer = new ByteWriter(24)
  writer.u8(recordFormat)
  writer.u8(stateNumbers[record.state])
  writer.varint(record.newestId)
  writer.varint(record.attempt)
  writer.u8(record.ingested ? 1 : 0)
  for (const number of [record.cursor, record.releasedAt, record.cut, record.count, record.checksum, record.epoch]) writer.varint(number)
  writer.bytes(record.digest)
  return writer.finish()
}

/** RangeError on what is no such record. Format 1 knows no epoch (0), only format 3 a digest. */
export function decodeShardRecord(bytes: Uint8Array): ShardRecord {
  const reader = new ByteReader(bytes)
  const format = reader.u8()
  if (format < 1 || format > recordFormat) throw new RangeError(`unknown format ${format} of a migration record`)
  const state = stateNames[reader.u8()]
  if (state === undefined) throw new RangeError('unknown shard state')
  const newestId = reader.varint()
  const attempt = reader.varint()
  const record = {
    ...unbornShard,
    state,
    newestId,
    attempt,
    ingested: reader.u8() === 1,
    cursor: reader.varint(),
    releasedAt: reader.varint(),
  }
  if (format === 1) return record
  const counted = { ...record, cut: reader.varint(), count: reader.varint(), checksum: reader.varint(), epoch: reader.varint() }
  // A copy: the bytes that are read from are the database's.
  return format === 2 ? counted : { ...counted, digest: Uint8Array.from(reader.bytes()) }
}
