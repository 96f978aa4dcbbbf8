import type { Engine } from './engine.ts'
import { DatabaseIterator } from './iterator.ts'
import type { KeyRange } from './kind.ts'
import { approximateBytes } from './range-size.ts'
import { WriteBatch } from './write-batch.ts'

/** Up to here it is cheaper to write a delete for each record than to end memtable and log, as an excise must. */
const maxRecords = 1000
const maxBatchBytes = 64 * 1024
/** What is looked through for them, tombstones and old versions included. */
const maxTableBytes = 1024 * 1024

/**
 * A delete for each record of `range` that is visible now; undefined where that is more than a few, or a file cannot be read: an excise then
 * reads none of them.
 */
export async function deletesOf(engine: Engine, range: KeyRange): Promise<WriteBatch | undefined> {
  const deletes = new WriteBatch()
  try {
    if ((await approximateBytes(engine, range)) > maxTableBytes) return undefined
    const iterator = new DatabaseIterator(engine.view.retain(), engine.sequence, engine.pause, range)
    try {
      while (await iterator.next()) {
        if (deletes.count === maxRecords || deletes.bytes > maxBatchBytes) return undefined
        deletes.delete(iterator.key)
      }
    } finally {
      iterator.close()
    }
  } catch (error) {
    engine.options.logger.warn({ error }, 'a range to delete cannot be read: it is excised')
    return undefined
  }
  return deletes
}
