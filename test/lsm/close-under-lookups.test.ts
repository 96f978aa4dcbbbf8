import { expect, it } from 'vitest'
import { BlockCache, WriteBatch } from '../../lsm/index.ts'
import { onNode, openDatabase } from './environment.ts'
import { bytes, text } from './model.ts'

const count = 200
const lookups = 5000

// What is read of the page cache waits for the turn after one that has had its share: thousands of lookups wait when the database is closed.
it.each([false, true])('a database that is closed answers the lookups that were asked before, with a log: %s', (wal) =>
  onNode(async (environment) => {
    const db = await openDatabase(environment, { wal, blockCache: new BlockCache(0) })
    const batch = new WriteBatch()
    for (let i = 0; i < count; i++) batch.put(bytes(`k${i}`), bytes(`v${i}`.padEnd(1000, '.')))
    await db.write(batch)
    await db.flush()
    const found = Array.from({ length: lookups }, (_, i) => db.get(bytes(`k${i % count}`)))
    const [values] = await Promise.all([Promise.all(found), db.close()])
    expect(values.map((value) => text(value ?? bytes('')))).toEqual(
      Array.from({ length: lookups }, (_, i) => `v${i % count}`.padEnd(1000, '.')),
    )
  }),
)
