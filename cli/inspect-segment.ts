import type { FileSystem } from '../base/file-system.ts'
import type { Damage } from '../lsm/index.ts'
import { batchHeaderBytes, formatVersion, RecordKind, readNameBody, readStateBody } from '../raft/log/format.ts'
import { type ScannedBatch, type ScannedRecord, SegmentScanner } from '../raft/log/segment-scanner.ts'
import type { Printer } from './printer.ts'

/**
 * Prints a segment of the shared log for people; returns it for `--json`. One segment alone does not tell a torn tail from damage: what cannot
 * be read is told in `unreadable`, and `verify` of the data directory decides.
 */
export async function inspectSegment(
  fileSystem: FileSystem,
  path: string,
  number: number,
  printer: Printer,
  damages: Damage[],
): Promise<object> {
  const file = await fileSystem.open(path, 'read')
  const batches: object[] = []
  const unreadable: { offset: number; what: string }[] = []
  try {
    const bytes = await file.size()
    await printer.line(() => `shared log ${path}, segment ${number}, ${bytes} bytes`)
    await printer.line(() => '      offset     batch  records')
    const scanner = new SegmentScanner(number, file, bytes, async () => {})
    let offset = 0
    while (offset < bytes) {
      const header = await scanner.header(offset)
      if (header === undefined) {
        const next = await scanner.nextHeader(offset + 8)
        unreadable.push({ offset, what: `${(next ?? bytes) - offset} bytes that are no batch` })
        await printer.line(() => `${String(offset).padStart(12)}            ${unreadable.at(-1)?.what}`)
        offset = next ?? bytes
        continue
      }
      if (header.version !== formatVersion) {
        damages.push({ file: path, offset, what: `format version ${header.version}, this release reads ${formatVersion}`, isNewer: true })
        break
      }
      const batch = await scanner.batch(header)
      for (const { offset: at, what } of batch.bad) unreadable.push({ offset: at, what })
      await printBatch(batch, printer)
      if (printer.json) batches.push(batchJson(batch))
      offset += batchHeaderBytes + header.bodyLength
    }
    await printer.line(() =>
      unreadable.length === 0 ? 'whole' : 'what cannot be read is a torn tail or damage: `ostraka verify` of the data directory tells',
    )
    return { kind: 'segment', path, number, bytes, batches, unreadable }
  } finally {
    await file.close()
  }
}

async function printBatch({ header, records, bad }: ScannedBatch, printer: Printer): Promise<void> {
  const { syncedUpTo } = header
  const durable = `durable up to ${syncedUpTo.segment}:${syncedUpTo.offset}`
  await printer.line(
    () =>
      `${String(header.offset).padStart(12)}  ${String(header.batch).padStart(8)}  ${header.records} records in ${header.bodyLength} bytes, ${durable}`,
  )
  for (const record of records) await printer.line(() => `${String(record.offset).padStart(12)}            ${recordText(record)}`)
  for (const { offset, what } of bad) await printer.line(() => `${String(offset).padStart(12)}            ${what}`)
}

function batchJson({ header, records, bad }: ScannedBatch): object {
  const { offset, batch, syncedUpTo, bodyLength } = header
  return { offset, batch, syncedUpTo, bodyLength, records: records.map((record) => recordJson(record)), bad }
}

function kindName(kind: number): string {
  return Object.entries(RecordKind).find(([, value]) => value === kind)?.[0] ?? `kind ${kind}`
}

/** The group's name and replica, where the record tells them. */
function keyOf({ header, front }: ScannedRecord): { uid: string; replica: number } | undefined {
  if (header.kind === RecordKind.name) return readNameBody(front)
  return header.kind === RecordKind.state ? readStateBody(front).key : undefined
}

function recordText(record: ScannedRecord): string {
  const { kind, group, first, count, bodyLength } = record.header
  const key = keyOf(record)
  const name = key === undefined ? '' : ` (${key.uid}, replica ${key.replica})`
  const range = count > 0 ? `, entries ${first} to ${first + count - 1}` : first > 0 ? `, index ${first}` : ''
  return `${kindName(kind)}, group ${group}${name}${range}, ${bodyLength} bytes`
}

function recordJson(record: ScannedRecord): object {
  const { kind, group, first, count, bodyLength, flags } = record.header
  return { offset: record.offset, kind: kindName(kind), group, ...keyOf(record), first, count, bodyLength, flags }
}
