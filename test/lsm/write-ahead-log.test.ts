import { describe, expect, it } from 'vitest'
import { CorruptionError } from '../../base/errors.ts'
import type { FileSystem } from '../../base/file-system.ts'
import { NodeClock } from '../../base/node-clock.ts'
import { replayLogs, WriteAheadLog } from '../../lsm/write-ahead-log.ts'
import { WriteBatch } from '../../lsm/write-batch.ts'
import { onNode } from './environment.ts'
import { bytes } from './model.ts'
import { override } from './override.ts'

const operations = (value: string) => new WriteBatch().put(bytes('key'), bytes(value)).encoded().slice()

/** Two logs: 5 with two groups, ended; 6 with two groups, the first of two batches. Returns the length of 6 after each record. `durable`: both were synced. */
async function makeLogs(fileSystem: FileSystem, folder: string, durable: boolean): Promise<number[]> {
  const first = await WriteAheadLog.create(fileSystem, folder, 5)
  await first.begin(0)
  await first.append([{ sequence: 1, operations: operations('a') }])
  await first.append([{ sequence: 2, operations: operations('b') }])
  await first.end()
  if (durable) await first.finish()
  else await first.close()
  const second = await WriteAheadLog.create(fileSystem, folder, 6)
  await second.begin(5)
  const lengths = [await sizeOf(fileSystem, `${folder}/000006.log`)]
  await second.append([
    { sequence: 3, operations: operations('c') },
    { sequence: 4, operations: operations('d') },
  ])
  lengths.push(await sizeOf(fileSystem, `${folder}/000006.log`))
  await second.append([{ sequence: 5, operations: operations('e') }])
  lengths.push(await sizeOf(fileSystem, `${folder}/000006.log`))
  if (durable) {
    await second.sync()
    await second.mark()
  }
  await second.close()
  return lengths
}

async function sizeOf(fileSystem: FileSystem, path: string): Promise<number> {
  const file = await fileSystem.open(path, 'read')
  const size = await file.size()
  await file.close()
  return size
}

async function cut(fileSystem: FileSystem, path: string, length: number): Promise<void> {
  const file = await fileSystem.open(path, 'write')
  await file.truncate(length)
  await file.close()
}

async function replayed(fileSystem: FileSystem, folder: string, numbers: number[], firstThatCounts = 5): Promise<number[]> {
  const sequences: number[] = []
  await replayLogs(
    { fileSystem, folder, clock: new NodeClock() },
    numbers,
    { firstThatCounts, closed: undefined },
    (_operations, sequence) => {
      sequences.push(sequence)
      return undefined
    },
  )
  return sequences
}

describe('the log', () => {
  it('gives its batches back in order, over several files', () =>
    onNode(async ({ fileSystem, folder }) => {
      await makeLogs(fileSystem, folder, true)
      expect(await replayed(fileSystem, folder, [5, 6])).toEqual([1, 2, 3, 4, 5])
    }))

  it('passes over a torn tail of the newest file, group by group, at every length', () =>
    onNode(async ({ fileSystem, folder }) => {
      const [started, one, two] = (await makeLogs(fileSystem, folder, false)) as [number, number, number]
      for (let length = two; length >= 0; length--) {
        await cut(fileSystem, `${folder}/000006.log`, length)
        const expected = length === two ? [1, 2, 3, 4, 5] : length >= one ? [1, 2, 3, 4] : [1, 2]
        expect(await replayed(fileSystem, folder, [5, 6])).toEqual(expected)
      }
      expect(started).toBeLessThan(one)
    }))

  it('gives up a later file with the tail of the one before it, where nothing of either was durable', () =>
    onNode(async ({ fileSystem, folder }) => {
      await makeLogs(fileSystem, folder, false)
      const path = `${folder}/000005.log`
      const whole = await sizeOf(fileSystem, path)
      const found: string[] = []
      for (let length = whole - 1; length >= 0; length--) {
        await cut(fileSystem, path, length)
        const sequences = (await replayed(fileSystem, folder, [5, 6])).join(' ')
        if (sequences !== found.at(-1)) found.push(sequences)
      }
      expect(found).toEqual(['1 2', '1', ''])
    }))

  it('takes a file that ends too early for damage where something of a later one was durable', () =>
    onNode(async ({ fileSystem, folder }) => {
      await makeLogs(fileSystem, folder, true)
      const path = `${folder}/000005.log`
      const mark = 24
      for (let length = (await sizeOf(fileSystem, path)) - mark - 1; length >= 0; length--) {
        await cut(fileSystem, path, length)
        await expect(replayed(fileSystem, folder, [5, 6]), `cut to ${length}`).rejects.toThrow(CorruptionError)
      }
    }))

  it.each(['sync', 'write'] as const)('is closed where it cannot be finished: %s fails', (kind) =>
    onNode(async ({ fileSystem, folder }) => {
      let isOpen = true
      const open: FileSystem['open'] = async (path, mode) => {
        const file = await fileSystem.open(path, mode)
        const close = async () => {
          isOpen = false
          await file.close()
          throw new Error('nobody hears of this one')
        }
        return override(file, { [kind]: () => Promise.reject(new Error(`no ${kind}`)), close })
      }
      const log = await WriteAheadLog.create(override(fileSystem, { open }), folder, 5)
      await expect(log.finish()).rejects.toThrow(`no ${kind}`)
      expect(isOpen).toBe(false)
    }),
  )

  it('misses a file that counts, and does not miss one that counts no more', () =>
    onNode(async ({ fileSystem, folder }) => {
      await makeLogs(fileSystem, folder, true)
      await expect(replayed(fileSystem, folder, [6])).rejects.toThrow('log 5, which comes before it, is missing')
      expect(await replayed(fileSystem, folder, [6], 6)).toEqual([3, 4, 5])
    }))
})
