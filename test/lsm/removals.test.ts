import { expect, it } from 'vitest'
import { utf8 } from '../../base/bytes.ts'
import { WriteBatch } from '../../lsm/index.ts'
import { environmentOf, openDatabase, simulate } from './environment.ts'
import { override } from './override.ts'

/** ext4 makes everybody's appends wait for as long as all the files that are unlinked at the same time take: 60 to 100 ms for a compaction's. */
it('tables that a compaction has replaced are unlinked one at a time, and none is left', async () => {
  const { world, process: machine } = simulate(6)
  const environment = environmentOf(machine)
  const { fileSystem } = environment
  let underWay = 0
  let most = 0
  let removed = 0
  const unlink = async (path: string) => {
    most = Math.max(most, ++underWay)
    await fileSystem.unlink(path)
    underWay--
    removed++
  }
  const watched = { ...environment, fileSystem: override(fileSystem, { unlink }) }
  await world.settle(
    (async () => {
      const db = await openDatabase(watched, { wal: false, level0CompactionTrigger: 100 })
      for (let table = 0; table < 8; table++) {
        db.write(new WriteBatch().put(utf8('key'), utf8(`value ${table}`)))
        await db.seal(utf8(String(table)))
      }
      await db.compactRange()
      await db.settle()
      expect({ most, removed }).toEqual({ most: 1, removed: 8 })
      const tables = (await fileSystem.list(`${environment.folder}/db`)).filter((name) => name.endsWith('.sst'))
      expect(tables).toHaveLength(1)
      await db.close()
    })(),
  )
})
