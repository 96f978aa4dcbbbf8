import { describe, expect, it } from 'vitest'
import { utf8 } from '../../base/bytes.ts'
import { InlineExecutor } from '../../base/inline-executor.ts'
import { MemoryFileSystem } from '../../base/memory-file-system.ts'
import { type TableEntry, writeTable } from '../../lsm/index.ts'
import { type DigestInput, type DigestOutput, digestJobName, shardJobs } from '../../shardserver/jobs.ts'
import { encodeKey, encodeRecord, KeyKind } from '../../shardserver/record.ts'
import { exportedShardState, ShardSmallState } from '../../shardserver/small-state.ts'
import { TestClock } from './builders.ts'

const stateOf = (shard: number, timeMs = 50): TableEntry => ({
  key: encodeKey(shard, KeyKind.ShardState),
  value: exportedShardState(new ShardSmallState(shard), timeMs),
})
const row = (shard: number, name: string, value: string, expiry = 0): TableEntry => ({
  key: encodeKey(shard, KeyKind.Record, utf8(name)),
  value: encodeRecord(utf8(value), expiry, 1),
})
const gone = (shard: number, name: string): TableEntry => ({ ...row(shard, name, ''), value: undefined })

/** Of runs, oldest first, of tables. */
async function digestOf(shards: readonly number[], ...runs: (readonly (readonly TableEntry[])[])[]): Promise<DigestOutput> {
  const fileSystem = new MemoryFileSystem()
  await fileSystem.makeFolder('x')
  const names = runs.map((run, i) => run.map((_, j) => `${i}-${j}.sst`))
  for (const [i, run] of runs.entries()) for (const [j, entries] of run.entries()) await writeTable(fileSystem, `x/${i}-${j}.sst`, entries)
  const executor = new InlineExecutor(shardJobs, { fileSystem, clock: new TestClock() })
  return await executor.run<DigestInput, DigestOutput>(digestJobName, { folder: 'x', runs: names, shards })
}

describe('the digest of an export', () => {
  it('is that of what is visible, however it lies in tables', async () => {
    const plain = await digestOf([1, 2], [[stateOf(1), row(1, 'a', '1'), row(1, 'b', '2'), stateOf(2), row(2, 'a', '3')]])
    expect(plain.records).toBe(5)
    const layered = await digestOf(
      [1, 2],
      [
        [stateOf(1, 7), row(1, 'a', 'old'), row(1, 'c', 'old')],
        [row(1, 'd', 'ended', 50), row(2, 'a', '3')],
      ],
      [[row(1, 'a', '1'), row(1, 'b', '2'), gone(1, 'c'), gone(1, 'e')]],
      [[stateOf(1)], [stateOf(2)]],
    )
    expect(layered).toEqual(plain)
  })

  it('leaves out what has expired at the time of its own shard, and nothing that lives longer', async () => {
    const ending = (timeMs: number) => digestOf([1], [[stateOf(1, timeMs), row(1, 'a', '1', 51)]])
    expect([(await ending(50)).records, (await ending(51)).records]).toEqual([2, 1])
  })

  it('knows values, keys, states and runs', async () => {
    const bases = await Promise.all([
      digestOf([1], [[stateOf(1), row(1, 'a', '1')]]),
      digestOf([1], [[stateOf(1), row(1, 'a', '2')]]),
      digestOf([1], [[stateOf(1), row(1, 'b', '1')]]),
      digestOf([1], [[stateOf(1, 51), row(1, 'a', '1')]]),
      digestOf([1], [[stateOf(1), row(1, 'a', '1')]], [[gone(1, 'a')]]),
    ])
    expect(new Set(bases.map(({ digest }) => digest.join())).size).toBe(bases.length)
  })

  it.each<[string, string, (readonly (readonly TableEntry[])[])[]]>([
    ['a key of another shard', 'none of the moving shards', [[[stateOf(1), stateOf(2), row(3, 'a', '1')]]]],
    [
      'delta',
      'none of the moving shards',
      [[[stateOf(1), stateOf(2), { key: encodeKey(2, KeyKind.Delta, utf8('12345678')), value: utf8('x') }]]],
    ],
    ['a tombstone of another shard', 'none of the moving shards', [[[stateOf(1), stateOf(2), gone(3, 'a')]]]],
    ['a record without a key', 'none of the moving shards', [[[stateOf(1), row(1, '', '1'), stateOf(2)]]]],
    ['a shard without its state', 'shard 1 has no state', [[[row(1, 'a', '1'), stateOf(2)]]]],
    ['an empty shard without its state', 'a shard has no state', [[[stateOf(1)]]]],
    [
      'a state that was deleted',
      'shard 1 has no state',
      [[[stateOf(1), row(1, 'a', '1'), stateOf(2)]], [[{ ...stateOf(1), value: undefined }]]],
    ],
    ['a state of bytes that are none', 'unknown format', [[[{ ...stateOf(1), value: utf8('x') }, stateOf(2)]]]],
    ['a record of bytes that are none', 'record format', [[[stateOf(1), { ...row(1, 'a', ''), value: utf8('x') }, stateOf(2)]]]],
    ['tables of a run that overlap', 'do not ascend', [[[stateOf(1), row(1, 'b', '1'), stateOf(2)], [row(1, 'a', '1')]]]],
  ])('is damage where it holds %s', async (_, message, runs) => {
    await expect(digestOf([1, 2], ...runs)).rejects.toMatchObject({ name: 'CorruptionError', message: expect.stringContaining(message) })
  })
})
