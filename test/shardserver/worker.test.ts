import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { utf8 } from '../../base/bytes.ts'
import { InlineExecutor } from '../../base/inline-executor.ts'
import { NodeClock } from '../../base/node-clock.ts'
import { NodeFileSystem } from '../../base/node-file-system.ts'
import { compactionJobName, writeTable } from '../../lsm/index.ts'
import { JobLanes } from '../../lsm/job-lanes.ts'
import { type DigestInput, type DigestOutput, digestJobName, shardJobs } from '../../shardserver/jobs.ts'
import { encodeKey, encodeRecord, KeyKind } from '../../shardserver/record.ts'
import { exportedShardState, ShardSmallState } from '../../shardserver/small-state.ts'
import { compile } from '../base/compile.ts'

it('the digest of an export is read in a worker thread, whose damage is told as such', async () => {
  const compiled = compile(new URL('../../shardserver/worker.ts', import.meta.url))
  const lanes = new JobLanes({ entry: compiled.url })
  const fileSystem = new NodeFileSystem()
  const folder = await mkdtemp(join(tmpdir(), 'ostraka-digest-'))
  try {
    const entries = [{ key: encodeKey(1, KeyKind.ShardState), value: exportedShardState(new ShardSmallState(1), 5) }]
    for (let i = 1000; i < 3000; i++)
      entries.push({ key: encodeKey(1, KeyKind.Record, utf8(`k${i}`)), value: encodeRecord(utf8(`v${i}`), 0, i) })
    await writeTable(fileSystem, join(folder, 'a.sst'), entries)
    const input: DigestInput = { folder, runs: [['a.sst']], shards: [1] }
    const inline = new InlineExecutor(shardJobs, { fileSystem, clock: new NodeClock() })
    const outcome = await lanes.run<DigestInput, DigestOutput>(digestJobName, input)
    expect(outcome).toEqual(await inline.run(digestJobName, input))
    expect(outcome.records).toBe(2001)
    // All but the last few entries; only who waits for digests has to do with it.
    const bytes = entries.slice(0, -64).reduce((sum, { key, value }) => sum + key.length + value.length, 0)
    expect(lanes.doneFor(digestJobName)).toBeGreaterThan(bytes)
    expect(lanes.doneFor(compactionJobName)).toBe(0)
    await expect(lanes.run(digestJobName, { ...input, shards: [2] })).rejects.toMatchObject({ name: 'CorruptionError', file: folder })
  } finally {
    await lanes.close()
    await rm(folder, { recursive: true })
    compiled.remove()
  }
}, 30_000)
