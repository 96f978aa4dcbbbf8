import { expect, it } from 'vitest'
import { WriteBatch } from '../../lsm/index.ts'
import { onNode, openDatabase } from './environment.ts'
import { bytes } from './model.ts'

/** A scan over the shards of a group opens an iterator for each, over several tables: what one holds counts thousandfold. */
it('an open iterator holds few bytes of its own', () =>
  onNode(async (environment) => {
    const db = await openDatabase(environment, { wal: false, level0CompactionTrigger: 100 })
    for (let table = 0; table < 4; table++) {
      const batch = new WriteBatch()
      for (let i = 0; i < 20; i++) batch.put(bytes(`key${i}`), bytes(`value${table}`))
      db.write(batch)
      await db.seal(bytes(String(table)))
    }
    const open = async (reverse: boolean) => {
      const iterator = db.iterate({ lower: bytes('key5'), reverse })
      expect(await iterator.next()).toBe(true)
      return iterator
    }
    // What is read once is in the cache from then on.
    for (const reverse of [false, true]) (await open(reverse)).close()
    for (const [reverse, bytesMax] of [
      [false, 1024],
      [true, 8192],
    ] as const) {
      const before = process.memoryUsage().arrayBuffers
      const iterators = []
      for (let i = 0; i < 1000; i++) iterators.push(await open(reverse))
      expect((process.memoryUsage().arrayBuffers - before) / iterators.length).toBeLessThan(bytesMax)
      for (const iterator of iterators) iterator.close()
    }
    await db.close()
  }))
