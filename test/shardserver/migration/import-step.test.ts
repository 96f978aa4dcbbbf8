import { describe, expect, it } from 'vitest'
import type { Migration } from '../../../proto/migration.ts'
import { type ImportStep, nextImportStep } from '../../../shardserver/migration/import-step.ts'
import { type ShardRecord, unbornShard } from '../../../shardserver/shard-state.ts'

const migration = (change: Partial<Migration> = {}): Migration => ({
  id: 7,
  shards: [3, 5],
  from: 'g1@1',
  to: 'g2@1',
  phase: 'copying',
  paused: false,
  configNumber: 0,
  epochs: [],
  fromConfirmed: false,
  toConfirmed: false,
  ...change,
})
const record = (change: Partial<ShardRecord>): ShardRecord => ({ ...unbornShard, ...change })
const both = (change: Partial<ShardRecord>) => [record(change), record(change)]
const importing = { state: 'importing', newestId: 7, attempt: 2 } as const

interface Case {
  readonly what: string
  readonly migration?: Partial<Migration>
  readonly records: readonly ShardRecord[]
  readonly next: ImportStep
}

const cases: readonly Case[] = [
  { what: 'a group that never knew the shards begins', records: both({}), next: { kind: 'begin' } },
  { what: 'a group that had them before begins', records: both({ state: 'absent', newestId: 6 }), next: { kind: 'begin' } },
  { what: 'a paused one does not begin', migration: { paused: true }, records: both({}), next: { kind: 'wait', why: 'paused' } },
  {
    what: 'an older migration that is not cleaned up is waited for',
    records: [record({ state: 'absent', newestId: 6 }), record({ state: 'released', newestId: 6 })],
    next: { kind: 'wait', why: 'blocked' },
  },
  {
    what: 'a committed one whose source was given up is refused: nobody will ever release',
    migration: { phase: 'committed', fromConfirmed: true },
    records: both({ ...importing, ingested: true, cursor: 9 }),
    next: { kind: 'refuse' },
  },
  { what: 'the attempt of the log is copied', records: both(importing), next: { kind: 'copy', attempt: 2 } },
  { what: 'a paused copy waits', migration: { paused: true }, records: both(importing), next: { kind: 'wait', why: 'paused' } },
  {
    what: 'with the files in it catches up from the cursor',
    records: both({ ...importing, ingested: true, cursor: 40 }),
    next: { kind: 'catch-up', after: 40 },
  },
  {
    what: 'a commit is taken over, paused or not',
    migration: { phase: 'committed', paused: true },
    records: both({ ...importing, ingested: true, cursor: 40 }),
    next: { kind: 'take-over', after: 40 },
  },
  {
    what: 'a commit that is ahead of the records here waits for them',
    migration: { phase: 'committed' },
    records: both(importing),
    next: { kind: 'wait', why: 'behind' },
  },
  { what: 'a refusal is reported', records: both({ state: 'refused', newestId: 7 }), next: { kind: 'report-refused' } },
  {
    what: 'a refusal is reported after the commit too',
    migration: { phase: 'committed' },
    records: both({ state: 'refused', newestId: 7 }),
    next: { kind: 'report-refused' },
  },
  {
    what: 'a group that serves says so',
    migration: { phase: 'committed' },
    records: both({ state: 'serving', newestId: 7 }),
    next: { kind: 'report-active' },
  },
  {
    what: 'also where a shard has gone on since',
    migration: { phase: 'committed' },
    records: [record({ state: 'serving', newestId: 7 }), record({ state: 'released', newestId: 9 })],
    next: { kind: 'report-active' },
  },
  { what: 'what was aborted here is nothing to drive', records: both({ state: 'absent', newestId: 7 }), next: { kind: 'none' } },
  { what: 'an ended one is nothing to drive', migration: { phase: 'aborted' }, records: both(importing), next: { kind: 'none' } },
]

describe('the next step of an import', () => {
  for (const { what, migration: change, records, next } of cases) {
    it(what, () => expect(nextImportStep(migration(change), records)).toEqual(next))
  }
})
