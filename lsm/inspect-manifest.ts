import { compareBytes } from '../base/bytes.ts'
import { type FileSystem, joinPath, readFile } from '../base/file-system.ts'
import { decodeRecordFile } from '../base/framed-record.ts'
import { type Damage, damageOf } from './damage.ts'
import { inspectRecords, type RecordsInspection } from './inspect-records.ts'
import { decodeCurrent, manifestSalt } from './manifest.ts'
import { currentName, levelCount, type TableMetadata } from './table-metadata.ts'
import { type ClosedLog, decodeEdit, type VersionEdit } from './version-edit.ts'

/** What the edits lead to. Unlike `DurableState` it may be impossible: levels that overlap themselves. */
export interface ManifestState {
  /** Level 0: newest first; the others: by key. */
  readonly levels: readonly (readonly TableMetadata[])[]
  readonly nextNumber: number
  readonly lastSequence: number
  readonly logNumber: number
  readonly closedLog: ClosedLog | undefined
  readonly mark: Uint8Array | undefined
}

export interface ManifestRecord {
  readonly offset: number
  readonly bytes: number
  /** Undefined: the record only carries `syncedUpTo`, or its edit could not be read. */
  readonly edit: VersionEdit | undefined
}

export interface ManifestInspection extends Omit<RecordsInspection, 'records'> {
  readonly number: number
  readonly records: readonly ManifestRecord[]
  readonly state: ManifestState
}

/** The number of the manifest that CURRENT names. CorruptionError where it cannot be told. */
export async function readCurrent(fileSystem: FileSystem, folder: string): Promise<number> {
  const path = joinPath(folder, currentName)
  return decodeCurrent(decodeRecordFile(await readFile(fileSystem, path), path), path)
}

/** All that can be read of the manifest `number` at `path`, and the state that the edits before the first damage lead to. */
export async function inspectManifest(fileSystem: FileSystem, path: string, number: number): Promise<ManifestInspection> {
  const found = inspectRecords(await readFile(fileSystem, path), { file: path, salt: manifestSalt + number, durable: 1 })
  const damages: Damage[] = [...found.damages]
  const state = new StateBuilder()
  const records = found.records.map(({ offset, end, payload }): ManifestRecord => {
    const place = { offset, bytes: end - offset }
    if (payload.length === 0) return { ...place, edit: undefined }
    try {
      const edit = decodeEdit(payload, path, offset)
      // What is behind damage lacks the step between.
      if (offset < found.end) for (const what of state.apply(edit)) damages.push({ file: path, offset, what })
      return { ...place, edit }
    } catch (error) {
      damages.push(damageOf(error))
      return { ...place, edit: undefined }
    }
  })
  const result = state.finish()
  for (const what of impossibilities(result)) damages.push({ file: path, what })
  return { ...found, number, records, state: result, damages, ending: damages.length > 0 ? 'damaged' : found.ending }
}

class StateBuilder {
  readonly #tables = new Map<number, TableMetadata>()
  #nextNumber = 1
  #lastSequence = 0
  #logNumber = 0
  #closedLog: ClosedLog | undefined
  #mark: Uint8Array | undefined

  /** Returns what is wrong with the edit. */
  apply(edit: VersionEdit): string[] {
    const wrong: string[] = []
    for (const id of edit.dropped) if (!this.#tables.delete(id)) wrong.push(`drops table ${id}, which is not there`)
    for (const table of edit.added) {
      if (this.#tables.has(table.id)) wrong.push(`adds table ${table.id} a second time`)
      this.#tables.set(table.id, table)
    }
    this.#nextNumber = Math.max(this.#nextNumber, edit.nextNumber ?? 0)
    this.#lastSequence = Math.max(this.#lastSequence, edit.lastSequence ?? 0)
    this.#logNumber = Math.max(this.#logNumber, edit.logNumber ?? 0)
    this.#closedLog = edit.closedLog ?? this.#closedLog
    if (this.#closedLog !== undefined && this.#closedLog.number < this.#logNumber) this.#closedLog = undefined
    this.#mark = edit.mark ?? this.#mark
    return wrong
  }

  finish(): ManifestState {
    const levels: TableMetadata[][] = Array.from({ length: levelCount }, () => [])
    for (const table of this.#tables.values()) levels[table.level]?.push(table)
    levels.forEach((level, i) => {
      level.sort(i === 0 ? (a, b) => b.order - a.order : (a, b) => compareBytes(a.lower, b.lower))
    })
    const [nextNumber, lastSequence, logNumber] = [this.#nextNumber, this.#lastSequence, this.#logNumber]
    return { levels, nextNumber, lastSequence, logNumber, closedLog: this.#closedLog, mark: this.#mark }
  }
}

function impossibilities({ levels, nextNumber, logNumber }: ManifestState): string[] {
  const wrong: string[] = []
  levels.forEach((tables, level) => {
    tables.forEach((table, i) => {
      const before = tables[i - 1]
      if (before === undefined) return
      // Two parts of one table have the same.
      const isOverlapping = compareBytes(before.lower, table.upper) < 0 && compareBytes(table.lower, before.upper) < 0
      if (level === 0 && before.order === table.order && isOverlapping)
        wrong.push(`tables ${before.id} and ${table.id} of level 0 have the same order`)
      if (level > 0 && compareBytes(before.upper, table.lower) > 0) {
        wrong.push(`tables ${before.id} and ${table.id} of level ${level} overlap`)
      }
    })
  })
  const taken = levels.flat().flatMap(({ id, file, order }) => [id, file, order])
  const most = taken.reduce((a, b) => Math.max(a, b), logNumber)
  if (most >= nextNumber) wrong.push(`number ${most} is in use, though the next number is ${nextNumber}`)
  return wrong
}
