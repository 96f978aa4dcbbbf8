import { describe, expect, it } from 'vitest'
import { limits } from '../../proto/limits.ts'
import {
  clientBytes,
  clientText,
  decodeSession,
  encodeSession,
  SessionTable,
  sessionsMax,
  type WriteResult,
} from '../../shardserver/session.ts'

/** Executes a command as the group does: the result, or why not. */
function run(
  table: SessionTable,
  client: string,
  sequence: number,
  options: { lowest?: number; first?: boolean; timeMs?: number; result?: WriteResult } = {},
) {
  const admission = table.begin(client, sequence, options.lowest ?? 1, options.first ?? false, options.timeMs ?? 0)
  if (admission.kind === 'refused') return admission.reason
  if (admission.kind === 'known') return { known: admission.result }
  const result = options.result ?? { revision: sequence }
  table.finish(admission.session, sequence, result)
  return result
}

function dirtyOf(table: SessionTable): Map<string, Uint8Array | undefined> {
  const dirty = new Map<string, Uint8Array | undefined>()
  table.takeDirty(
    (client, bytes) => dirty.set(client, bytes),
    () => false,
  )
  return dirty
}

describe('the sessions of a shard', () => {
  it('begin only with a write that is marked first', () => {
    const table = new SessionTable()
    expect(run(table, 'a', 1)).toBe('expired')
    expect(table.size).toBe(0)
    expect(run(table, 'a', 1, { first: true })).toEqual({ revision: 1 })
    expect(run(table, 'a', 2)).toEqual({ revision: 2 })
    expect(run(table, 'b', 2)).toBe('expired')
  })

  it('execute a number once, in any order, and give the stored reply from then on', () => {
    const table = new SessionTable()
    run(table, 'a', 3, { first: true })
    expect(run(table, 'a', 2)).toEqual({ revision: 2 })
    expect(run(table, 'a', 3, { result: { revision: 99 } })).toEqual({ known: { revision: 3 } })
    expect(run(table, 'a', 2, { first: true })).toEqual({ known: { revision: 2 } })
    const refusal = { error: { message: 'no' } }
    run(table, 'a', 4, { result: refusal })
    expect(run(table, 'a', 4)).toEqual({ known: refusal })
  })

  it('never execute below the lowest outstanding number, which only rises', () => {
    const table = new SessionTable()
    for (let i = 1; i <= 5; i++) run(table, 'a', i, { first: true })
    expect(run(table, 'a', 6, { lowest: 4 })).toEqual({ revision: 6 })
    expect(run(table, 'a', 3, { lowest: 1 })).toBe('forgotten')
    expect(run(table, 'a', 4, { lowest: 1 })).toEqual({ known: { revision: 4 } })
    expect(run(table, 'a', 5, { lowest: 6 })).toBe('forgotten')
    expect(run(table, 'a', 4, { lowest: 1 })).toBe('forgotten')
    expect(run(table, 'new', 3, { lowest: 4, first: true })).toBe('forgotten')
    expect(table.size).toBe(1)
  })

  it('keep no more than the window', () => {
    const table = new SessionTable()
    run(table, 'a', 1, { first: true })
    expect(run(table, 'a', 1 + limits.sessionWindow)).toBe('window')
    expect(run(table, 'a', limits.sessionWindow)).toEqual({ revision: 1024 })
    expect(run(table, 'a', 1 + limits.sessionWindow, { lowest: 2 })).toEqual({ revision: 1025 })
    expect(run(table, 'b', 1 + limits.sessionWindow, { first: true })).toBe('window')
  })

  it('end after an hour of shard time without a write, to the millisecond', () => {
    const table = new SessionTable()
    run(table, 'a', 1, { first: true, timeMs: 100 })
    expect(run(table, 'a', 2, { timeMs: 100 + limits.sessionMs - 1 })).toEqual({ revision: 2 })
    const last = 100 + limits.sessionMs - 1
    expect(run(table, 'a', 3, { timeMs: last + limits.sessionMs })).toBe('expired')
    expect(table.size).toBe(0)
    expect(dirtyOf(table)).toEqual(new Map([['a', undefined]]))
  })

  it('are swept without anyone asking for them, at the same command whether or not the table was written and read', () => {
    const table = new SessionTable()
    for (let i = 0; i < 50; i++) run(table, `c${i}`, 1, { first: true, timeMs: i })
    run(table, 'z', 1, { first: true, timeMs: 2 * limits.sessionMs })
    expect(table.size).toBe(1)
    expect(table.replyBytes).toBeGreaterThan(0)
    const dirty = dirtyOf(table)
    expect(dirty.size).toBe(51)
    const again = new SessionTable(table.sweptAtMs)
    for (const [client, bytes] of dirty) if (bytes !== undefined) again.load(client, bytes)
    expect([again.size, again.replyBytes, again.sweptAtMs]).toEqual([1, table.replyBytes, table.sweptAtMs])
    expect(run(again, 'z', 1)).toEqual({ known: expect.objectContaining({ revision: 1 }) })
  })

  it('are bounded: in a full table a new one waits until the oldest can no longer be asked for', () => {
    const table = new SessionTable()
    for (let i = 0; i < sessionsMax; i++) run(table, `c${i}`, 1, { first: true, timeMs: i })
    expect(run(table, 'new', 1, { first: true, timeMs: 5000 })).toBe('full')
    expect(table.size).toBe(sessionsMax)
    expect(run(table, 'c0', 2, { timeMs: 5000 })).toEqual({ revision: 2 })
    const later = 1 + 2 * limits.writeAgeMsMax
    expect(run(table, 'new', 1, { first: true, timeMs: later })).toEqual({ revision: 1 })
    expect(table.size).toBe(sessionsMax)
    expect(run(table, 'c1', 1, { timeMs: later })).toBe('expired')
    expect(run(table, 'c0', 3, { timeMs: later })).toEqual({ revision: 3 })
    expect(run(table, 'newer', 1, { first: true, timeMs: later })).toBe('full')
  })

  it('are bounded by the bytes of their replies, and count them right', () => {
    const table = new SessionTable()
    const result = { value: 'x'.repeat(1000) }
    for (let client = 0; client < 17; client++) {
      for (let i = 1; i <= 1024; i++) run(table, `c${client}`, i, { first: true, result })
    }
    const full = table.size
    expect(full).toBeLessThan(17)
    expect(run(table, 'new', 1, { first: true })).toBe('full')
    for (let client = 0; client < full; client++) run(table, `c${client}`, 1025, { lowest: 1025 })
    expect(table.replyBytes).toBe(full * 32)
    expect(run(table, 'new', 1, { first: true })).toEqual({ revision: 1 })
  })

  it('let no command in that a full table has just refused to an earlier one of the same entry', () => {
    const table = new SessionTable()
    const result = { value: 'x'.repeat(1000) }
    // Two old ones, of which the least recent holds nothing; the rest fill the table.
    run(table, 'empty', 1, { first: true, timeMs: 0 })
    for (let i = 1; i <= 1024; i++) run(table, 'large', i, { first: true, timeMs: 1, result })
    for (let client = 0; client < 15; client++) {
      for (let i = 1; i <= 1024; i++) run(table, `c${client}`, i, { first: true, timeMs: 2 * limits.writeAgeMsMax, result })
    }
    for (let i = 1; table.replyBytes < 16 * 1024 * 1024; i++)
      run(table, 'c15', i, { first: true, timeMs: 2 * limits.writeAgeMsMax, result })
    const timeMs = 2 * limits.writeAgeMsMax + 10
    expect([run(table, 'new', 1, { first: true, timeMs }), run(table, 'new', 2, { first: true, timeMs })]).toEqual([
      { revision: 1 },
      { revision: 2 },
    ])
    // Ended: just those that had to go.
    expect(run(table, 'empty', 2, { timeMs })).toBe('expired')
    expect(run(table, 'large', 2000, { lowest: 1999, timeMs })).toBe('expired')
    expect(run(table, 'c0', 1025, { lowest: 1025, timeMs })).toEqual({ revision: 1025 })
  })

  it('are written only when they changed', () => {
    const table = new SessionTable()
    run(table, 'a', 1, { first: true })
    run(table, 'b', 1, { first: true })
    expect([...dirtyOf(table).keys()]).toEqual(['a', 'b'])
    expect(table.isDirty).toBe(false)
    run(table, 'b', 1)
    expect([...dirtyOf(table).keys()]).toEqual(['b'])
    run(table, 'c', 1)
    expect(table.isDirty).toBe(false)
  })

  it('come back from bytes as they were, and refuse other bytes', () => {
    const table = new SessionTable()
    const client = clientText(new Uint8Array([0, 255, 128, 7]))
    expect([...clientBytes(client)]).toEqual([0, 255, 128, 7])
    run(table, client, 5, {
      lowest: 4,
      first: true,
      timeMs: 77,
      result: { revision: 8, current: { found: true, value: new Uint8Array([1, 2]) } },
    })
    run(table, client, 9, { lowest: 4, timeMs: 78, result: { error: { message: 'no', definite: true } } })
    const bytes = dirtyOf(table).get(client) ?? new Uint8Array(0)
    const back = decodeSession(client, bytes)
    expect([back.lowest, back.usedAtMs, [...back.replies.keys()]]).toEqual([4, 78, [5, 9]])
    expect(back.replies.get(5)?.result).toMatchObject({ revision: 8, current: { found: true } })
    expect(encodeSession(back)).toEqual(bytes)
    expect(() => decodeSession(client, bytes.subarray(0, bytes.length - 1))).toThrow(RangeError)
    expect(() => decodeSession(client, new Uint8Array([9]))).toThrow(RangeError)
  })
})
