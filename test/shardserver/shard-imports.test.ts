import { describe, expect, it } from 'vitest'
import { InlineExecutor } from '../../base/inline-executor.ts'
import { silentLogger } from '../../base/logger.ts'
import { MemoryFileSystem } from '../../base/memory-file-system.ts'
import { NodeClock } from '../../base/node-clock.ts'
import { shardJobs } from '../../shardserver/jobs.ts'
import { heldName, ShardImports } from '../../shardserver/shard-imports.ts'
import { MemoryStore } from './memory-store.ts'

async function folderOf(names: readonly string[]): Promise<MemoryFileSystem> {
  const fileSystem = new MemoryFileSystem()
  for (const folder of ['group', 'group/imports']) await fileSystem.makeFolder(folder)
  for (const name of names) {
    await fileSystem.makeFolder(`group/imports/${name}`)
    const file = await fileSystem.open(`group/imports/${name}/${heldName}`, 'create')
    await file.write([new Uint8Array(64)], 0)
    await file.close()
  }
  return fileSystem
}

describe('ShardImports', () => {
  // Seed 3 of the simulator: one end looked into all files while those of another went, failed, and said nothing.
  it('removes the files of moves that end one after the other, however soon', async () => {
    const clock = new NodeClock()
    for (let steps = 0; steps < 100; steps++) {
      const fileSystem = await folderOf(['15.1', '16.1', '16.2', '17.1'])
      const executor = new InlineExecutor(shardJobs, { fileSystem, clock })
      const imports = new ShardImports({ fileSystem, executor, folder: 'group', clock, logger: silentLogger }, new MemoryStore())
      imports.end(17)
      for (let i = 0; i < steps; i++) await Promise.resolve()
      imports.end(16)
      await imports.close()
      expect([steps, await fileSystem.list('group/imports')]).toEqual([steps, ['15.1']])
    }
  })
})
