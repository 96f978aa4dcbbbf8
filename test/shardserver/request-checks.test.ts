import { describe, expect, it } from 'vitest'
import { utf8 } from '../../base/bytes.ts'
import { SeededRandom } from '../../base/random.ts'
import { pb } from '../../proto/messages.ts'
import type { Command } from '../../shardserver/commands.ts'
import { checkExecuteRequest, checkScanRequest, checkWriteBatch } from '../../shardserver/request-checks.ts'
import { clientId, keyOf, LogBuilder, openMachine, shardCount, writeBatch } from './builders.ts'

const key = keyOf(3, 1)
const other = keyOf(4, 1)
const good: Command = { shard: 3, sequence: 1, lowestOutstanding: 1, put: { key, value: utf8('v') } }

/** As a node takes it. */
function checkEncoded(bytes: Uint8Array, shards: number): string | undefined {
  try {
    return checkWriteBatch(pb.v1.WriteBatch.decode(bytes), shards)
  } catch {
    return 'writes is no encoded WriteBatch'
  }
}

function batch(change: Partial<Command>, envelope: Partial<pb.v1.WriteBatch.$Properties> = {}): pb.v1.WriteBatch.$Properties {
  return { clientId: clientId(1), commands: [{ ...good, ...change }], ...envelope }
}

const bad: readonly (readonly [string, pb.v1.WriteBatch.$Properties, RegExp])[] = [
  ['no client id', batch({}, { clientId: new Uint8Array(0) }), /client_id/],
  ['a long client id', batch({}, { clientId: new Uint8Array(17) }), /client_id/],
  ['no command', batch({}, { commands: [] }), /no command/],
  ['an old write', batch({}, { ageMs: 600_001 }), /600000 ms ago/],
  ['sequence 0', batch({ sequence: 0 }), /sequence counts/],
  ['an absurd sequence', batch({ sequence: 2 ** 60 }), /sequence counts/],
  ['lowest 0', batch({ lowestOutstanding: 0 }), /lowest_outstanding counts/],
  ['a number below the lowest', batch({ lowestOutstanding: 2 }), /below lowest/],
  ['a number beyond the window', batch({ sequence: 1025 }), /1024 or more above/],
  ['no operation', batch({ put: null }), /0 operations/],
  ['two operations', batch({ delete: { key } }), /2 operations/],
  ['an empty key', batch({ put: { value: utf8('a') } }), /empty/],
  ['a long key', batch({ put: { key: new Uint8Array(4097) } }), /4097 bytes/],
  ['a key of another shard', batch({ put: { key: other } }), /belongs to shard 4, not to 3/],
  ['a long value', batch({ put: { key, value: new Uint8Array(4 * 1024 * 1024 + 1) } }), /value holds/],
  ['an absurd time to live', batch({ put: { key, ttlMs: 2 ** 60 } }), /ttl_ms/],
  ['an increment by no integer', batch({ put: null, increment: { key, by: '1.5' } }), /64-bit integer/],
  ['an increment past int64', batch({ put: null, increment: { key, by: '9223372036854775808' } }), /64-bit integer/],
  ['a comparison without condition', batch({ put: null, compareAndSet: { key } }), /0 conditions/],
  ['a comparison with two', batch({ put: null, compareAndSet: { key, expectAbsent: true, expectRevision: 1 } }), /2 conditions/],
  ['expect_absent false', batch({ put: null, compareAndSet: { key, expectAbsent: false } }), /must be true/],
  ['an empty atomic batch', batch({ put: null, batch: {} }), /empty/],
  [
    'an atomic batch over two shards',
    batch({ put: null, batch: { writes: [{ put: { key } }, { delete: { key: other } }] } }),
    /shard 4, not to 3/,
  ],
  ['an atomic batch that checks elsewhere', batch({ put: null, batch: { checks: [{ key: other }], writes: [] } }), /shard 4, not to 3/],
  ['an undecided write of a batch', batch({ put: null, batch: { writes: [{}] } }), /exactly one put or delete/],
  ['a shard that is not there', batch({ shard: 99 }), /not to 99/],
]

describe('request checks', () => {
  it('pass what is right', () => {
    expect(checkWriteBatch(batch({}), shardCount)).toBeUndefined()
    expect(checkEncoded(writeBatch(1, [good]), shardCount)).toBeUndefined()
    expect(checkExecuteRequest({ group: 'g1@1', writes: writeBatch(1, [good]) }, shardCount)).toBeUndefined()
    expect(checkScanRequest({ group: 'g1@1', shards: [0, 15] }, shardCount)).toBeUndefined()
  })

  it.each(bad)('name what is wrong in one line: %s', (_name, request, message) => {
    const wrong = checkWriteBatch(request, shardCount)
    expect(wrong).toMatch(message)
    expect(wrong).not.toContain('\n')
    // Of two members of a oneof only the last comes through the wire.
    if (!/^.* 2 (operations|conditions)/.test(wrong ?? ''))
      expect(checkEncoded(pb.v1.WriteBatch.encode(request).finish(), shardCount)).toBeDefined()
  })

  it('pass conditions on the empty value and on revision 0', () => {
    for (const condition of [{ expectValue: new Uint8Array(0) }, { expectRevision: 0 }]) {
      expect(checkEncoded(writeBatch(1, [{ ...good, put: null, compareAndSet: { key, ...condition } }]), shardCount)).toBeUndefined()
    }
  })

  it('count every operation of a batch', () => {
    const commands = (count: number) => Array.from({ length: count }, (_, i) => ({ ...good, sequence: 1 + i }))
    expect(checkWriteBatch({ clientId: clientId(1), commands: commands(1000) }, shardCount)).toBeUndefined()
    expect(checkWriteBatch({ clientId: clientId(1), commands: commands(1001) }, shardCount)).toMatch(/more than 1000/)
    const writes = Array.from({ length: 1001 }, () => ({ put: { key } }))
    expect(checkWriteBatch(batch({ put: null, batch: { writes } }), shardCount)).toMatch(/more than 1000/)
  })

  it('bound how many values a batch brings into memory', () => {
    const appends = (count: number) =>
      Array.from({ length: count }, (_, i) => ({ ...good, put: null, append: { key, value: key }, sequence: 1 + i }))
    expect(checkWriteBatch({ clientId: clientId(1), commands: appends(32) }, shardCount)).toBeUndefined()
    expect(checkWriteBatch({ clientId: clientId(1), commands: appends(33) }, shardCount)).toMatch(/more than 32/)
  })

  it('take a comparison of two values of the full size', () => {
    const value = new Uint8Array(4 * 1024 * 1024)
    const commands = [{ ...good, put: null, compareAndSet: { key, expectValue: value, value } }]
    const writes = pb.v1.WriteBatch.encode({ clientId: clientId(1), commands }).finish()
    expect(checkExecuteRequest({ group: 'g', writes }, shardCount)).toBeUndefined()
    expect(checkWriteBatch({ clientId: clientId(1), commands }, shardCount)).toBeUndefined()
  })

  it('refuse absurd envelopes', () => {
    const reads = (read: pb.v1.Read.$Properties) => checkExecuteRequest({ group: 'g1@1', reads: [read] }, shardCount)
    expect(checkExecuteRequest({ group: 'g1@1' }, shardCount)).toMatch(/neither/)
    expect(checkExecuteRequest({ reads: [{ shard: 3, key }] }, shardCount)).toMatch(/group is empty/)
    expect(checkExecuteRequest({ group: 'g', reads: [{ shard: 3, key }], timeoutMs: 600_001 }, shardCount)).toMatch(/timeout_ms/)
    expect(checkExecuteRequest({ group: 'g', reads: [{ shard: 3, key }], configNumber: 2 ** 60 }, shardCount)).toMatch(/config_number/)
    expect(checkExecuteRequest({ group: 'g', writes: new Uint8Array(8 * 1024 * 1024 + 64 * 1024 + 1) }, shardCount)).toMatch(
      /the writes take/,
    )
    expect(reads({ shard: 3, key })).toBeUndefined()
    expect(reads({ shard: 4, key })).toMatch(/belongs to shard 3/)
    expect(reads({ shard: 3 })).toMatch(/empty/)
    expect(reads({ shard: 3, key, consistency: 9 as pb.v1.Consistency })).toMatch(/consistency/)
    expect(checkScanRequest({ group: 'g1@1' }, shardCount)).toMatch(/shards is empty/)
    expect(checkScanRequest({ group: 'g1@1', shards: [16] }, shardCount)).toMatch(/no shard 16/)
    expect(checkScanRequest({ group: 'g1@1', shards: [1, 1] }, shardCount)).toMatch(/twice/)
    expect(checkScanRequest({ shards: [1] }, shardCount)).toMatch(/group is empty/)
    expect(checkScanRequest({ group: 'g', shards: [1], start: new Uint8Array(5000) }, shardCount)).toMatch(/start/)
  })

  it.each([1, 2, 3, 4])('never throw on damaged bytes, nor does apply, checked or not (seed %i)', async (seed) => {
    const random = new SeededRandom(seed)
    const { machine } = await openMachine()
    const log = new LogBuilder()
    await machine.apply([log.birth(0, [3, 4])])
    const sources = [batch({}), ...bad.map(([, request]) => request)].map((request) => pb.v1.WriteBatch.encode(request).finish())
    let passed = 0
    for (let i = 0; i < 3000; i++) {
      const bytes = Uint8Array.from(sources[random.below(sources.length)] ?? []).subarray(0, 300)
      for (let flips = random.below(4); flips > 0; flips--) bytes[random.below(bytes.length)] = random.below(256)
      const wrong = checkEncoded(bytes, shardCount)
      const data = new Uint8Array(10 + bytes.length)
      data.set([1, 1])
      data.set(bytes, 10)
      const [result] = await machine.apply([log.add(data)])
      if (wrong !== undefined) continue
      passed++
      expect(result?.kind).toBe('written')
    }
    expect(passed).toBeGreaterThan(100)
    const reopened = machine.stateHash()
    expect((await reopened).index).toBe(3001)
    for (let i = 0; i < 500; i++) {
      const bytes = random.bytes(random.below(80))
      for (const decode of [() => pb.v1.ExecuteRequest.decode(bytes), () => pb.v1.ScanRequest.decode(bytes)]) {
        let request: pb.v1.ExecuteRequest & pb.v1.ScanRequest
        try {
          request = decode() as pb.v1.ExecuteRequest & pb.v1.ScanRequest
        } catch {
          continue
        }
        checkExecuteRequest(request, shardCount)
        checkScanRequest(request, shardCount)
      }
    }
  })
})
