import { WriteBatch, writeTable } from '../../../lsm/index.ts'
import { bytes } from '../model.ts'
import type { Stage } from './stage.ts'

const put = (...keys: string[]) => keys.reduce((batch, key) => batch.put(bytes(key), bytes(`value of ${key}`)), new WriteBatch())

/** By the name of the file that holds the story's text and trace. */
export const stories: Readonly<Record<string, (stage: Stage) => Promise<void>>> = {
  'open-fresh': async (stage) => {
    stage.tell('open where nothing is')
    const db = await stage.open()
    stage.silence()
    await db.close()
    stage.tell('open without a WAL what is empty')
    const again = await stage.open({ wal: false })
    stage.silence()
    await again.close()
  },

  'open-after-crash': async (stage) => {
    const killed = await stage.open()
    await killed.write(put('a', 'b'))
    await killed.flush()
    await killed.write(put('c'))
    await killed.write(put('d'))
    stage.tell('open what a killed process left: a table, and two batches in its log')
    const db = await stage.open()
    stage.silence()
    await db.close()
  },

  write: async (stage) => {
    const db = await stage.open()
    await db.settle()
    stage.tell('a write with sync, alone')
    await db.write(put('a'))
    await db.write(put('b'), { sync: false })
    stage.silence()
    stage.tell('three at once, and one that does not ask for a sync')
    await Promise.all([db.write(put('c')), db.write(put('d'), { sync: false }), db.write(put('e'))])
    await db.write(put('f'), { sync: false })
    stage.tell('close')
    await db.close()
  },

  flush: async (stage) => {
    const db = await stage.open()
    await db.write(put('a', 'b'))
    stage.tell('flush')
    await db.flush()
    await db.settle()
    stage.silence()
    await db.close()
  },

  'full-memtable': async (stage) => {
    const db = await stage.open({ memtableBytes: 4096 })
    await db.write(put('a').put(bytes('b'), new Uint8Array(5000)))
    await db.settle()
    stage.tell('a write that finds the memtable full')
    await db.write(put('c'))
    await db.settle()
    stage.silence()
    await db.close()
  },

  seal: async (stage) => {
    const db = await stage.open({ wal: false })
    stage.tell('writes without a WAL, then a seal')
    db.write(put('a', 'b'))
    db.write(put('c'))
    await db.seal(bytes('7'))
    stage.tell('a seal of nothing')
    await db.seal(bytes('8'))
    stage.silence()
    await db.close()
  },

  compaction: async (stage) => {
    const db = await stage.open({ level0CompactionTrigger: 2 })
    await db.write(put('a', 'c'))
    await db.flush()
    await db.write(put('b', 'c'))
    stage.tell('the flush that makes two tables of level 0, and the compaction that follows')
    await db.flush()
    await db.settle()
    stage.silence()
    await db.close()
  },

  'compaction-beside-a-snapshot': async (stage) => {
    const db = await stage.open({ level0CompactionTrigger: 2 })
    await db.write(put('a', 'c'))
    await db.flush()
    const snapshot = db.snapshot()
    await db.write(put('b', 'c'))
    stage.tell('flush and compaction while a snapshot holds the first table')
    await db.flush()
    await db.settle()
    stage.tell('its release')
    snapshot.release()
    await db.settle()
    stage.silence()
    await db.close()
  },

  'trivial-move': async (stage) => {
    const db = await stage.open({ level0CompactionTrigger: 1 })
    await db.write(put('a', 'b'))
    stage.tell('a flush, and the move of its table to level 1')
    await db.flush()
    await db.settle()
    stage.silence()
    await db.close()
  },

  checkpoint: async (stage) => {
    const db = await stage.open()
    await db.write(put('a', 'b'))
    await db.flush()
    await db.write(put('c'))
    stage.tell('checkpoint')
    await db.checkpoint('data/copy')
    stage.silence()
    await db.close()
  },

  ingest: async (stage) => {
    const db = await stage.open()
    await db.write(put('b'))
    await db.settle()
    stage.tell('the file')
    await writeTable(stage.environment.fileSystem, 'data/in.sst', [{ key: bytes('a'), value: bytes('1') }])
    stage.tell('ingest while the memtable holds a write')
    await db.ingest([{ path: 'data/in.sst' }])
    await db.settle()
    stage.tell('a file that was prepared and is given up')
    await db.discardIngest(await db.prepareIngest([{ path: 'data/in.sst' }]))
    stage.silence()
    await db.close()
  },

  excise: async (stage) => {
    const db = await stage.open()
    await db.write(put('a', 'b', 'c'))
    await db.flush()
    await db.write(put('bb'))
    stage.tell('excise of the middle of a table')
    await db.excise(bytes('b'), bytes('c'))
    await db.settle()
    stage.tell('excise of all')
    await db.excise(undefined, undefined)
    await db.settle()
    stage.silence()
    await db.close()
  },

  close: async (stage) => {
    const db = await stage.open()
    await db.write(put('a'), { sync: false })
    stage.tell('close, with a write in the log that was not synced')
    await db.close()
    stage.silence()
    const other = await stage.open({ wal: false })
    other.write(put('b'))
    void other.seal(bytes('1'))
    other.write(put('c'))
    stage.tell('close without a WAL, with a sealed memtable in the queue and another that is not sealed')
    await other.close()
  },
}
