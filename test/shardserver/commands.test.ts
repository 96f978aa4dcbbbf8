import { describe, expect, it } from 'vitest'
import { toHex, utf8, utf8Text } from '../../base/bytes.ts'
import { CorruptionError } from '../../base/errors.ts'
import { limits } from '../../proto/limits.ts'
import { pb } from '../../proto/messages.ts'
import { type Command, executeCommand, keysToRead, type ShardView } from '../../shardserver/commands.ts'
import { decodeEntry, encodeBirth, encodeTimeMark, encodeWrite, UnknownEntryError } from '../../shardserver/entry.ts'
import {
  decodeRecord,
  encodeRecord,
  endOfKind,
  KeyKind,
  migrationKey,
  type RecordView,
  recordKey,
  shardOfKey,
} from '../../shardserver/record.ts'

class PlainShard implements ShardView {
  timeMs = 1000
  revision = 0
  readonly records = new Map<string, RecordView>()

  lookup(key: Uint8Array) {
    return this.records.get(utf8Text(key))
  }

  nextRevision() {
    return ++this.revision
  }

  put(key: Uint8Array, value: Uint8Array, expiry: number, revision: number) {
    this.records.set(utf8Text(key), { value, expiry, revision })
  }

  delete(key: Uint8Array) {
    this.records.delete(utf8Text(key))
  }

  text(key: string) {
    const record = this.records.get(key)
    return record && `${utf8Text(record.value)} ${record.expiry} ${record.revision}`
  }
}

const key = utf8('k')
const invalid = { error: { code: pb.v1.ErrorCode.INVALID_ARGUMENT, definite: true } }

describe('commands', () => {
  it('put and compareAndSet replace a time to live, append and increment keep it, expire sets and removes it', () => {
    const shard = new PlainShard()
    executeCommand({ put: { key, value: utf8('1'), ttlMs: 50 } }, shard)
    expect(shard.text('k')).toBe('1 1050 1')
    executeCommand({ append: { key, value: utf8('2') } }, shard)
    expect(shard.text('k')).toBe('12 1050 2')
    executeCommand({ increment: { key, by: '5' } }, shard)
    expect(shard.text('k')).toBe('17 1050 3')
    executeCommand({ compareAndSet: { key, expectRevision: 3, value: utf8('a') } }, shard)
    expect(shard.text('k')).toBe('a 0 4')
    expect(executeCommand({ expire: { key, ttlMs: 10 } }, shard)).toEqual({ revision: 5, existed: true })
    expect(shard.text('k')).toBe('a 1010 5')
    executeCommand({ expire: { key } }, shard)
    expect(shard.text('k')).toBe('a 0 6')
  })

  it('take a record for absent from the millisecond of its expiry on', () => {
    const shard = new PlainShard()
    executeCommand({ put: { key, value: utf8('9'), ttlMs: 10 } }, shard)
    shard.timeMs = 1009
    expect(executeCommand({ compareAndSet: { key, expectAbsent: true } }, shard).current).toMatchObject({
      found: true,
      revision: 1,
      expiresInMs: 1,
    })
    shard.timeMs = 1010
    expect(executeCommand({ delete: { key } }, shard)).toEqual({ existed: false })
    expect(executeCommand({ expire: { key, ttlMs: 10 } }, shard)).toEqual({ existed: false })
    expect(executeCommand({ increment: { key, by: '1' } }, shard)).toEqual({ revision: 2, value: '1' })
    expect(shard.text('k')).toBe('1 0 2')
  })

  it.each([
    ['9223372036854775806', '1', '9223372036854775807'],
    ['9223372036854775807', '1', undefined],
    ['-9223372036854775808', '-1', undefined],
    ['-9223372036854775808', '9223372036854775807', '-1'],
    ['9223372036854775808', '0', undefined],
    ['', '1', undefined],
    ['01', '1', undefined],
    ['+1', '1', undefined],
    ['1 ', '1', undefined],
    ['1.0', '1', undefined],
    ['é', '1', undefined],
    ['1', '', undefined],
    ['1', 'x', undefined],
    ['-0', '0', '0'],
  ])('increment %s by %s: %s', (present, by, sum) => {
    const shard = new PlainShard()
    executeCommand({ put: { key, value: utf8(present) } }, shard)
    const result = executeCommand({ increment: { key, by } }, shard)
    if (sum === undefined) expect(result).toMatchObject(invalid)
    else expect(result).toEqual({ revision: 2, value: sum })
    expect(shard.revision).toBe(sum === undefined ? 1 : 2)
  })

  it('append up to the largest value and no further', () => {
    const shard = new PlainShard()
    executeCommand({ put: { key, value: new Uint8Array(limits.valueBytesMax - 1) } }, shard)
    expect(executeCommand({ append: { key, value: utf8('a') } }, shard)).toEqual({ revision: 2, length: limits.valueBytesMax })
    expect(executeCommand({ append: { key, value: utf8('b') } }, shard)).toMatchObject(invalid)
    expect(shard.revision).toBe(2)
  })

  it('compareAndSet tells what is there, without a value that is too long to be kept', () => {
    const shard = new PlainShard()
    const value = new Uint8Array(limits.storedReplyBytesMax + 1)
    executeCommand({ put: { key, value } }, shard)
    expect(executeCommand({ compareAndSet: { key, expectAbsent: true } }, shard)).toMatchObject({
      applied: false,
      current: { found: true, revision: 1, valueOmitted: true, value: new Uint8Array(0) },
    })
    expect(executeCommand({ compareAndSet: { key, expectValue: value, remove: true } }, shard)).toEqual({ applied: true, revision: 2 })
    expect(executeCommand({ compareAndSet: { key, expectRevision: 1 } }, shard)).toEqual({ applied: false })
    expect(executeCommand({ compareAndSet: { key, expectValue: new Uint8Array(0) } }, shard)).toEqual({ applied: false })
    expect(executeCommand({ compareAndSet: { key, expectAbsent: true, remove: true } }, shard)).toEqual({ applied: true })
    expect(executeCommand({ compareAndSet: { key } }, shard)).toEqual({ applied: false })
  })

  it('a batch writes all under one revision, or nothing', () => {
    const shard = new PlainShard()
    executeCommand({ put: { key, value: utf8('1') } }, shard)
    const writes = [{ put: { key, value: utf8('2') } }, { put: { key: utf8('l'), value: utf8('3'), ttlMs: 5 } }, { delete: { key } }]
    expect(executeCommand({ batch: { checks: [{ key, revision: 2 }], writes } }, shard).error).toMatchObject({
      code: pb.v1.ErrorCode.CONDITION_FAILED,
    })
    expect(executeCommand({ batch: { checks: [{ key: utf8('l'), revision: 1 }], writes } }, shard).error?.definite).toBe(true)
    expect([shard.text('k'), shard.text('l')]).toEqual(['1 0 1', undefined])
    expect(executeCommand({ batch: { checks: [{ key, revision: 1 }, { key: utf8('l') }], writes } }, shard)).toEqual({ revision: 2 })
    expect([shard.text('k'), shard.text('l')]).toEqual([undefined, '3 1005 2'])
    expect(executeCommand({ batch: { checks: [{ key: utf8('l'), revision: 2 }] } }, shard)).toEqual({})
  })

  it('name the keys that they read, and put none', () => {
    const reads = (command: Command) => {
      const found: string[] = []
      keysToRead(command, (each) => found.push(utf8Text(each)))
      return found.join(' ')
    }
    expect(reads({ put: { key, value: key } })).toBe('')
    expect(reads({ batch: { writes: [{ put: { key } }, { delete: { key } }] } })).toBe('')
    expect(reads({ batch: { checks: [{ key }, { key: utf8('l') }] } })).toBe('k l')
    for (const name of ['delete', 'append', 'increment', 'compareAndSet', 'expire']) expect(reads({ [name]: { key } })).toBe('k')
  })

  it('without meaning are refused, not thrown', () => {
    const shard = new PlainShard()
    const long = new Uint8Array(limits.keyBytesMax + 1)
    for (const command of [
      {},
      { put: {} },
      { delete: { key: long } },
      { batch: { writes: [{}] } },
      { batch: { checks: [{}] } },
      { expire: {} },
    ]) {
      expect(executeCommand(command, shard)).toMatchObject(invalid)
    }
    expect(shard.revision).toBe(0)
  })
})

describe('formats', () => {
  it('keys sort by shard, kind and user key, and none of a shard lies among those of the group', () => {
    expect(toHex(recordKey(0x1234, new Uint8Array([0xab])))).toBe('123410ab')
    expect(toHex(migrationKey(16_383))).toBe('ffff023fff')
    expect(toHex(endOfKind(5, KeyKind.Session))).toBe('000503')
    expect(shardOfKey(recordKey(16_383, key))).toBe(16_383)
  })

  it('a record is format, expiry, revision, value; other bytes are damage', () => {
    const bytes = encodeRecord(utf8('v'), 2 ** 40 + 1, 7)
    expect(toHex(bytes)).toBe('0101000000000100000700000000000000'.concat('76'))
    expect(decodeRecord(bytes)).toEqual({ value: utf8('v'), expiry: 2 ** 40 + 1, revision: 7 })
    for (const bad of [bytes.subarray(0, 16), new Uint8Array(17), new Uint8Array(17).fill(255, 1).fill(1, 0, 1)]) {
      expect(() => decodeRecord(bad)).toThrow(CorruptionError)
    }
  })

  it('an entry is version, kind, time, body', () => {
    const write = encodeWrite(258.9, utf8('body'))
    expect(toHex(write)).toBe('01010201000000000000626f6479')
    expect(decodeEntry(write, 1)).toEqual({ kind: 'write', timeMs: 258, body: utf8('body') })
    expect(decodeEntry(encodeTimeMark(5), 1)).toEqual({ kind: 'time-mark', timeMs: 5 })
    expect(decodeEntry(encodeBirth(5, 300, [0, 255, 16_383]), 1)).toEqual({
      kind: 'birth',
      timeMs: 5,
      configNumber: 300,
      shards: [0, 255, 16_383],
    })
  })

  it('an entry of a later version, a reserved kind or absurd content stops the replica, naming the index', () => {
    const mark = encodeTimeMark(5)
    const change = (at: number, value: number) => mark.map((byte, i) => (i === at ? value : byte))
    const birth = encodeBirth(0, 1, [1, 2])
    for (const bad of [
      change(0, 2),
      change(1, 0),
      change(1, 16),
      change(9, 255),
      mark.subarray(0, 9),
      birth.subarray(0, birth.length - 1),
      encodeBirth(0, 1, [16_384]),
    ]) {
      expect(() => decodeEntry(bad, 77)).toThrow(UnknownEntryError)
      expect(() => decodeEntry(bad, 77)).toThrow(/entry 77/)
    }
  })
})
