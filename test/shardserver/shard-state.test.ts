import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  decodeShardRecord,
  encodeShardRecord,
  type ShardEvent,
  type ShardRecord,
  type ShardStateName,
  transition,
  unbornShard,
} from '../../shardserver/shard-state.ts'

const digest = new Uint8Array(16).fill(5)
const calm = { attempt: 0, ingested: false, cursor: 0, releasedAt: 0, cut: 0, count: 0, checksum: 0, digest: new Uint8Array(0), epoch: 3 }
const id = 7
const agreed = { agrees: true, count: 6, checksum: 7 }
/** One record in each state, in the middle of migration 7 where the state has one. */
const samples: Readonly<Record<string, ShardRecord>> = {
  unborn: unbornShard,
  absent: { state: 'absent', newestId: id, ...calm },
  serving: { state: 'serving', newestId: id, ...calm },
  exporting: { state: 'exporting', newestId: id, ...calm, attempt: 2, cut: 20, count: 5, checksum: 9 },
  released: { state: 'released', newestId: id, ...calm, attempt: 2, releasedAt: 50, cut: 20, count: 5, checksum: 9 },
  importing: { state: 'importing', newestId: id, ...calm, attempt: 2 },
  ingested: { state: 'importing', newestId: id, ...calm, attempt: 2, ingested: true, cursor: 30, count: 4, checksum: 8, digest },
  refused: { state: 'refused', newestId: id, ...calm },
}

const events: Readonly<Record<string, ShardEvent>> = {
  birth: { kind: 'birth' },
  rebirth: { kind: 'rebirth', epoch: 4 },
  'rebirth, known epoch': { kind: 'rebirth', epoch: 3 },
  'rebirth, first epoch': { kind: 'rebirth', epoch: 1 },
  'import newer': { kind: 'import', id: 8, attempt: 1 },
  'import newer, attempt 2': { kind: 'import', id: 8, attempt: 2 },
  'import same, first attempt': { kind: 'import', id, attempt: 1 },
  'import same, next attempt': { kind: 'import', id, attempt: 3 },
  'import same, same attempt': { kind: 'import', id, attempt: 2 },
  'import older': { kind: 'import', id: 6, attempt: 1 },
  'export newer': { kind: 'export', id: 8, attempt: 1, index: 21 },
  'export same, higher attempt': { kind: 'export', id, attempt: 4, index: 21 },
  'export same, same attempt': { kind: 'export', id, attempt: 2, index: 21 },
  'export older': { kind: 'export', id: 6, attempt: 9, index: 21 },
  ingest: { kind: 'ingest', id, attempt: 2, cut: 30, digest },
  'ingest, other attempt': { kind: 'ingest', id, attempt: 1, cut: 30, digest },
  'ingest, other id': { kind: 'ingest', id: 8, attempt: 2, cut: 30, digest },
  replay: { kind: 'replay', id, after: 30, upTo: 40, ...agreed },
  'replay, disagrees': { kind: 'replay', id, after: 30, upTo: 40, ...agreed, agrees: false },
  'replay, empty': { kind: 'replay', id, after: 30, upTo: 30, ...agreed },
  'replay, other start': { kind: 'replay', id, after: 29, upTo: 40, ...agreed },
  'replay, other id': { kind: 'replay', id: 6, after: 30, upTo: 40, ...agreed },
  release: { kind: 'release', id, index: 50 },
  'release, other id': { kind: 'release', id: 6, index: 50 },
  'activate, agrees': { kind: 'activate', id, after: 30, upTo: 50, ...agreed, epoch: 4 },
  'activate, differs': { kind: 'activate', id, after: 30, upTo: 50, ...agreed, agrees: false, epoch: 4 },
  'activate, other start': { kind: 'activate', id, after: 29, upTo: 50, ...agreed, epoch: 4 },
  'activate, backwards': { kind: 'activate', id, after: 30, upTo: 20, ...agreed, epoch: 4 },
  refuse: { kind: 'refuse', id },
  'refuse, other id': { kind: 'refuse', id: 6 },
  aborted: { kind: 'outcome', id, outcome: 'aborted', epoch: 4 },
  'given back': { kind: 'outcome', id, outcome: 'given-back', epoch: 4 },
  done: { kind: 'outcome', id, outcome: 'done', epoch: 4 },
  'aborted, older id': { kind: 'outcome', id: 6, outcome: 'aborted', epoch: 4 },
  'done, older id': { kind: 'outcome', id: 6, outcome: 'done', epoch: 4 },
  'given back, newer id': { kind: 'outcome', id: 8, outcome: 'given-back', epoch: 4 },
}

/** Everything that is allowed, and nothing else: sample, event, the state after it, its effect. */
const allowed: readonly (readonly [string, string, ShardStateName, string])[] = [
  ['unborn', 'birth', 'serving', 'make-empty'],
  ['unborn', 'rebirth', 'serving', 'make-empty'],
  ['unborn', 'rebirth, known epoch', 'serving', 'make-empty'],
  ['absent', 'rebirth', 'serving', 'make-empty'],
  ['unborn', 'import newer', 'importing', 'begin-import'],
  ['unborn', 'import older', 'importing', 'begin-import'],
  ['unborn', 'import same, first attempt', 'importing', 'begin-import'],
  ['absent', 'import newer', 'importing', 'begin-import'],
  ['serving', 'export newer', 'exporting', 'cut'],
  ['exporting', 'export same, higher attempt', 'exporting', 'cut'],
  ['exporting', 'release', 'released', 'none'],
  ['exporting', 'aborted', 'serving', 'end-export'],
  ['exporting', 'given back', 'serving', 'end-export'],
  ['released', 'given back', 'serving', 'end-export'],
  ['released', 'done', 'absent', 'excise'],
  ['importing', 'import same, next attempt', 'importing', 'begin-import'],
  ['importing', 'ingest', 'importing', 'ingest'],
  ['importing', 'refuse', 'refused', 'none'],
  ['importing', 'aborted', 'absent', 'excise'],
  ['ingested', 'replay', 'importing', 'replay'],
  ['ingested', 'activate, agrees', 'serving', 'replay'],
  ['ingested', 'activate, differs', 'refused', 'none'],
  ['ingested', 'refuse', 'refused', 'none'],
  ['ingested', 'aborted', 'absent', 'excise'],
  ['refused', 'aborted', 'absent', 'excise'],
  ['refused', 'given back', 'absent', 'excise'],
]

describe('the states of a shard', () => {
  const cells = Object.keys(samples).flatMap((sample) => Object.keys(events).map((event) => [sample, event] as const))

  it.each(cells)('%s: %s', (sample, event) => {
    const before = samples[sample] ?? unbornShard
    const result = transition(before, events[event] ?? { kind: 'birth' })
    const row = allowed.find(([from, by]) => from === sample && by === event)
    if (row === undefined) {
      expect(result.kind).toBe('refused')
      expect(result.kind === 'refused' && result.reason).toContain(before.state)
    } else {
      expect(result).toMatchObject({ kind: 'moved', next: { state: row[2] }, effect: row[3] })
    }
  })

  it('keeps the newest id through everything, and never lowers it', () => {
    const anId = fc.integer({ min: 1, max: 4 })
    const small = fc.integer({ min: 0, max: 3 })
    const event: fc.Arbitrary<ShardEvent> = fc.oneof(
      fc.constant<ShardEvent>({ kind: 'birth' }),
      fc.record({ kind: fc.constant('rebirth'), epoch: small }),
      fc.record({ kind: fc.constant('import'), id: anId, attempt: small }),
      fc.record({ kind: fc.constant('export'), id: anId, attempt: small, index: small }),
      fc.record({ kind: fc.constant('ingest'), id: anId, attempt: small, cut: small, digest: fc.constant(digest) }),
      fc.record({ kind: fc.constant('replay'), id: anId, after: small, upTo: small, agrees: fc.boolean(), count: small, checksum: small }),
      fc.record({ kind: fc.constant('release'), id: anId, index: small }),
      fc.record({
        kind: fc.constant('activate'),
        id: anId,
        after: small,
        upTo: small,
        agrees: fc.boolean(),
        count: small,
        checksum: small,
        epoch: small,
      }),
      fc.record({ kind: fc.constant('refuse'), id: anId }),
      fc.record({ kind: fc.constant('outcome'), id: anId, outcome: fc.constantFrom('aborted', 'given-back', 'done'), epoch: small }),
    ) as fc.Arbitrary<ShardEvent>
    fc.assert(
      fc.property(fc.array(event, { maxLength: 60 }), (list) => {
        let record = unbornShard
        let births = 0
        for (const each of list) {
          const result = transition(record, each)
          if (result.kind === 'refused') continue
          expect(result.next.newestId).toBeGreaterThanOrEqual(record.newestId)
          expect(result.next.epoch).toBeGreaterThanOrEqual(record.epoch)
          if (each.kind === 'rebirth') expect(result.next.epoch).toBeGreaterThan(record.epoch)
          expect(result.next.state).not.toBe('unborn')
          if (each.kind === 'birth') births++
          if (each.kind === 'export' && record.state === 'serving') expect(each.id).toBeGreaterThan(record.newestId)
          record = result.next
          expect(decodeShardRecord(encodeShardRecord(record))).toEqual(record)
        }
        expect(births).toBeLessThanOrEqual(1)
      }),
      { numRuns: 2000 },
    )
  })

  it('walks a shard from group to group and back', () => {
    const walk = (record: ShardRecord, ...list: ShardEvent[]) =>
      list.reduce((at, event) => {
        const result = transition(at, event)
        if (result.kind === 'refused') throw new Error(result.reason)
        return result.next
      }, record)
    const exported = walk(
      unbornShard,
      { kind: 'birth' },
      { kind: 'export', id: 3, attempt: 1, index: 21 },
      { kind: 'export', id: 3, attempt: 2, index: 21 },
    )
    const left = walk(exported, { kind: 'release', id: 3, index: 90 }, { kind: 'outcome', id: 3, outcome: 'done', epoch: 4 })
    expect(left).toEqual({ state: 'absent', newestId: 3, ...calm, epoch: 1 })
    const back = walk(
      left,
      { kind: 'import', id: 9, attempt: 1 },
      { kind: 'ingest', id: 9, attempt: 1, cut: 12, digest },
      { kind: 'replay', id: 9, after: 12, upTo: 20, ...agreed },
      { kind: 'activate', id: 9, after: 20, upTo: 20, ...agreed, epoch: 4 },
    )
    expect(back).toEqual({ state: 'serving', newestId: 9, ...calm, epoch: 4 })
    expect(transition(back, { kind: 'birth' }).kind).toBe('refused')
  })

  it('counts commands from the newest cut on', () => {
    const recut = transition(samples.exporting as ShardRecord, { kind: 'export', id, attempt: 3, index: 40 })
    expect(recut).toMatchObject({ next: { attempt: 3, cut: 40, count: 0, checksum: 0 } })
    const replayed = transition(samples.ingested as ShardRecord, { kind: 'replay', id, after: 30, upTo: 40, ...agreed })
    expect(replayed).toMatchObject({ next: { cursor: 40, count: 6, checksum: 7 } })
  })

  it('keeps the digest of the cut from the ingest until the import ends', () => {
    const ingested = transition(samples.importing as ShardRecord, events.ingest as ShardEvent)
    expect(ingested).toMatchObject({ next: { ingested: true, digest } })
    const record = ingested.kind === 'moved' ? ingested.next : unbornShard
    expect(decodeShardRecord(encodeShardRecord(record))).toEqual(record)
    const replayed = transition(record, { kind: 'replay', id, after: 30, upTo: 40, ...agreed })
    expect(replayed).toMatchObject({ next: { digest } })
    expect(transition(record, { kind: 'refuse', id })).toMatchObject({ next: { digest: new Uint8Array(0) } })
  })

  it('reads the records that earlier versions wrote', () => {
    const second = [2, 5, 7, 2, 1, 30, 0, 0, 5, 6, 3]
    expect(decodeShardRecord(new Uint8Array(second))).toMatchObject({
      state: 'importing',
      ingested: true,
      epoch: 3,
      digest: new Uint8Array(0),
    })
    expect(decodeShardRecord(new Uint8Array([1, 2, 7, 0, 0, 0, 0]))).toEqual({ state: 'serving', newestId: 7, ...calm, epoch: 0 })
  })
})
