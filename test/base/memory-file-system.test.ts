import { MemoryFileSystem } from '../../base/memory-file-system.ts'
import { fileSystemContract } from './file-system-contract.ts'

fileSystemContract('in memory', async () => {
  const fileSystem = new MemoryFileSystem()
  await fileSystem.makeFolder('bench')
  return { fileSystem, folder: 'bench', run: (body) => body(), dispose: () => Promise.resolve() }
})
