import type { FileSystem } from '../base/file-system.ts'
import { type Damage, inspectLog, type LoggedOperation, type LogInspection, type LogRecord } from '../lsm/index.ts'
import type { InspectOptions } from './inspect-options.ts'
import { type Printer, quoted } from './printer.ts'
import { bytesJson } from './text.ts'

/** Prints a write-ahead log for people; returns it for `--json`. */
export async function inspectLogFile(
  fileSystem: FileSystem,
  path: string,
  number: number,
  options: InspectOptions,
  printer: Printer,
  damages: Damage[],
): Promise<object> {
  const log = await inspectLog(fileSystem, path, number)
  damages.push(...log.damages)
  const withValues = options.values === true
  const withEntries = options.entries === true || withValues
  await printer.line(() => `write-ahead log ${path}, number ${number}, ${log.bytes} bytes`)
  await printer.line(() => '      offset     bytes  record')
  for (const record of log.records) {
    await printer.line(() => `${String(record.offset).padStart(12)}  ${String(record.bytes).padStart(8)}  ${recordText(record)}`)
    for (const { sequence, operations } of withEntries && record.type === 'batches' ? record.batches : []) {
      for (const operation of operations)
        await printer.line(() => `                        ${sequence}: ${operationText(operation, withValues)}`)
    }
  }
  await printer.line(() => endingText(log))
  return {
    kind: 'log',
    path,
    number,
    bytes: log.bytes,
    records: printer.json ? log.records.map((record) => recordJson(record, withEntries, withValues)) : [],
    ending: { state: log.ending, end: log.end, durableEnd: log.durableEnd, ended: log.ended },
  }
}

/** Where a file of framed records ends, and why. */
export function endingText({
  ending,
  end,
  bytes,
  durableEnd,
  ended,
}: Pick<LogInspection, 'ending' | 'end' | 'bytes' | 'durableEnd'> & { ended?: boolean }): string {
  const durable = `known durable up to ${durableEnd}`
  if (ending === 'torn') return `torn tail: ${bytes - end} bytes from ${end} on were never acknowledged and are passed over (${durable})`
  if (ending === 'damaged') return `damaged (${durable})`
  return `whole (${durable}${ended === undefined ? '' : ended ? ', ended' : ', not ended'})`
}

function recordText(record: LogRecord): string {
  if (record.type === 'start') return record.previous === 0 ? 'start, no log before it counts' : `start, after log ${record.previous}`
  if (record.type === 'mark') return `mark, durable up to ${record.syncedUpTo}`
  if (record.type !== 'batches') return record.type
  const first = record.batches[0]?.sequence
  const last = record.batches.at(-1)?.sequence
  const operations = record.batches.reduce((sum, batch) => sum + batch.operations.length, 0)
  return `batches ${first === last ? first : `${first} to ${last}`}, ${operations} operations`
}

function recordJson(record: LogRecord, withEntries: boolean, withValues: boolean): object {
  if (record.type !== 'batches') return record
  const batches = record.batches.map(({ sequence, operations }) => ({
    sequence,
    operations: operations.length,
    ...(withEntries ? { content: operations.map((operation) => operationJson(operation, withValues)) } : {}),
  }))
  return { ...record, batches }
}

function operationText({ key, value }: LoggedOperation, withValue: boolean): string {
  if (value === undefined) return `delete ${quoted(key)}`
  return `put ${quoted(key)}, value of ${value.length} bytes${withValue ? `  ${quoted(value)}` : ''}`
}

function operationJson({ key, value }: LoggedOperation, withValue: boolean): object {
  return {
    ...bytesJson('key', key),
    kind: value === undefined ? 'tombstone' : 'value',
    valueBytes: value?.length ?? 0,
    ...(withValue && value !== undefined ? bytesJson('value', value) : {}),
  }
}
