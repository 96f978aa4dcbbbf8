import { compareBytes } from '../base/bytes.ts'
import type { Engine } from './engine.ts'
import type { KeyRange } from './kind.ts'
import { rangeOverlaps, type TableMetadata } from './table-metadata.ts'

/** About what the durable records of `range` take in files: tables that lie within it by their size, others by their index blocks. */
export async function approximateBytes(engine: Engine, range: KeyRange): Promise<number> {
  const view = engine.view.retain()
  try {
    let bytes = 0
    for (const version of [view.version, ...view.queue.map((element) => element.tables)]) {
      for (const table of version?.tables() ?? []) {
        if (rangeOverlaps(range, table.lower, table.upper)) bytes += await bytesWithin(engine, table, range)
      }
    }
    return bytes
  } finally {
    view.release()
  }
}

async function bytesWithin(engine: Engine, table: TableMetadata, range: KeyRange): Promise<number> {
  const lower = range.lower !== undefined && compareBytes(range.lower, table.lower) > 0 ? range.lower : table.lower
  const upper = range.upper !== undefined && compareBytes(range.upper, table.upper) < 0 ? range.upper : table.upper
  if (!table.clipped && lower === table.lower && upper === table.upper) return table.size
  const reader = await engine.store.reader(table)
  return reader.bytesBetween(lower, upper)
}
