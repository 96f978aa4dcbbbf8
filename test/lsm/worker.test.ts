import { expect, it } from 'vitest'
import { NodeExecutor } from '../../base/node-executor.ts'
import { WriteBatch } from '../../lsm/index.ts'
import { compile } from '../base/compile.ts'
import { onNode, openDatabase } from './environment.ts'
import { bytes, recordsOf, scan } from './model.ts'

it('a database flushes and compacts in worker threads, straight from shared memory', () =>
  onNode(async (environment) => {
    const compiled = compile(new URL('../../lsm/worker.ts', import.meta.url))
    const executor = new NodeExecutor({ entry: compiled.url })
    const compactionExecutor = new NodeExecutor({ entry: compiled.url, niceness: 10 })
    try {
      const model = new Map<string, string>()
      const db = await openDatabase({ ...environment, executor }, { wal: false, compactionExecutor, memtableBytes: 16384 })
      for (let i = 0; i < 3000; i++) {
        const key = `key${(i * 7919) % 1000}`
        const batch = new WriteBatch()
        if (i % 9 === 0) batch.delete(bytes(key))
        else batch.put(bytes(key), bytes(`value ${i}`))
        await db.write(batch)
        if (i % 9 === 0) model.delete(key)
        else model.set(key, `value ${i}`)
        if (db.wantsSeal) void db.seal(bytes(String(i)))
        if (i % 500 === 0) expect(await scan(db)).toEqual(recordsOf(model))
      }
      await db.seal(bytes('end'))
      await db.settle()
      expect(db.stats().compactions).toBeGreaterThan(0)
      expect(await scan(db)).toEqual(recordsOf(model))
      await db.close()
    } finally {
      await executor.close()
      await compactionExecutor.close()
      compiled.remove()
    }
  }))
