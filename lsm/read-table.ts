import type { FileSystem } from '../base/file-system.ts'
import { BlockCursor } from './block.ts'
import { BlockLoader } from './block-loader.ts'
import { kindTombstone } from './kind.ts'
import { checkKind, TableReader } from './table-reader.ts'

/**
 * Passes on all entries of a table in key order, without a database: views that hold until `receive` returns; no value: a tombstone. After
 * each block it waits for what `pause` returns. CorruptionError where the file is no table or damaged.
 */
export async function readTable(
  fileSystem: FileSystem,
  path: string,
  receive: (key: Uint8Array, value: Uint8Array | undefined) => void,
  pause: () => Promise<void> | undefined = () => undefined,
): Promise<void> {
  const reader = await TableReader.open(fileSystem, path, undefined, undefined)
  try {
    const loader = new BlockLoader(reader)
    const cursor = new BlockCursor()
    for (let i = 0; i < reader.blocks; i++) {
      const loading = loader.load(i)
      if (loading instanceof Promise) await loading
      const { bytes: block, start, end } = loader
      cursor.open(block, start, end, path, reader.blockOffset(i))
      while (cursor.advance()) {
        checkKind(cursor.kind, path, reader.blockOffset(i))
        const value = cursor.kind === kindTombstone ? undefined : block.subarray(cursor.valueStart, cursor.valueEnd)
        receive(cursor.key.subarray(0, cursor.keyLength), value)
      }
      await pause()
    }
  } finally {
    await reader.close()
  }
}
