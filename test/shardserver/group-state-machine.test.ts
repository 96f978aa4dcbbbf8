import { describe, expect, it } from 'vitest'
import { utf8, utf8Text } from '../../base/bytes.ts'
import { SeededRandom } from '../../base/random.ts'
import { WriteBatch } from '../../lsm/index.ts'
import { pb } from '../../proto/messages.ts'
import { encodeConfChange } from '../../raft/core/conf-change-codec.ts'
import { EntryKind } from '../../raft/core/types.ts'
import { encodeMembersContext } from '../../raft/standing.ts'
import type { GroupResult } from '../../shardserver/apply-run.ts'
import { UnknownEntryError } from '../../shardserver/entry.ts'
import type { GroupStateMachine } from '../../shardserver/group-state-machine.ts'
import { migrationKey } from '../../shardserver/record.ts'
import { encodeShardRecord, type ShardRecord, unbornShard } from '../../shardserver/shard-state.ts'
import { Caller, keyOf, LogBuilder, openMachine, written } from './builders.ts'

async function applyAll(machine: GroupStateMachine, log: LogBuilder, from = machine.applied): Promise<readonly GroupResult[]> {
  return machine.apply(log.entries.slice(from))
}

async function textAt(machine: GroupStateMachine, shard: number, key: Uint8Array, leaderTimeMs = 0): Promise<string> {
  const outcome = await machine.read(shard, key, leaderTimeMs)
  return outcome.kind === 'found' ? utf8Text(Uint8Array.from(outcome.value)) : outcome.kind
}

describe('a group state machine', () => {
  it('makes a shard at its birth, once in the life of the group', async () => {
    const { machine } = await openMachine()
    const log = new LogBuilder()
    log.birth(0, [3, 4], 7)
    log.birth(0, [4, 5], 8)
    expect(await applyAll(machine, log)).toEqual([
      { kind: 'born', born: [3, 4], refused: [] },
      { kind: 'born', born: [5], refused: [4] },
    ])
    expect(machine.status()).toMatchObject({ applied: 2, configNumber: 8 })
    expect(machine.status().shards.map(({ shard, state, epoch }) => [shard, state, epoch])).toEqual([
      [3, 'serving', 1],
      [4, 'serving', 1],
      [5, 'serving', 1],
    ])
    expect([machine.shardState(3), machine.shardState(6)]).toEqual(['serving', 'unborn'])
  })

  it('refuses commands of a shard that is not here, and keeps no session for them', async () => {
    const { machine } = await openMachine()
    const log = new LogBuilder()
    const caller = new Caller(1, 2)
    const command = caller.next({ put: { key: keyOf(2, 1), value: utf8('a') } })
    log.write(0, 1, command)
    log.birth(0, [2])
    log.write(0, 1, command)
    const results = await applyAll(machine, log)
    expect(written(results[0])[0]?.error).toMatchObject({ code: pb.v1.ErrorCode.WRONG_GROUP, definite: true })
    expect(written(results[2])[0]).toEqual({ revision: 1 })
  })

  it('runs blind puts without a read and without a promise', async () => {
    const { machine, store } = await openMachine()
    const log = new LogBuilder()
    const caller = new Caller(1, 2)
    log.birth(0, [2])
    for (let i = 0; i < 50; i++) log.write(0, 1, caller.next({ put: { key: keyOf(2, i % 5), value: utf8(`v${i}`) } }))
    store.cold = true
    const results = machine.apply(log.entries)
    expect(results).not.toBeInstanceOf(Promise)
    expect(store.reads).toBe(0)
    expect(await textAt(machine, 2, keyOf(2, 4))).toBe('v49')
  })

  it('sees what earlier commands of the same run wrote and removed', async () => {
    const { machine, store } = await openMachine()
    store.cold = true
    const log = new LogBuilder()
    const caller = new Caller(1, 2)
    const key = keyOf(2, 1)
    log.birth(0, [2])
    log.write(0, 1, caller.next({ put: { key, value: utf8('a') } }), caller.next({ append: { key, value: utf8('b') } }))
    log.write(0, 1, caller.next({ append: { key, value: utf8('c') } }))
    log.write(0, 1, caller.next({ delete: { key } }), caller.next({ append: { key, value: utf8('z') } }), caller.next({ delete: { key } }))
    log.write(0, 1, caller.next({ compareAndSet: { key, expectAbsent: true, value: utf8('new') } }))
    const results = await applyAll(machine, log)
    expect(results.slice(1).flatMap(written)).toEqual([
      { revision: 1 },
      { revision: 2, length: 2 },
      { revision: 3, length: 3 },
      { revision: 4, existed: true },
      { revision: 5, length: 1 },
      { revision: 6, existed: true },
      { applied: true, revision: 7 },
    ])
    expect(store.reads).toBe(1)
    expect(await textAt(machine, 2, key)).toBe('new')
  })

  it("counts an expired record as absent by the shard's time, and asks for a time mark where only the leader has passed it", async () => {
    const { machine } = await openMachine()
    const log = new LogBuilder()
    const caller = new Caller(1, 2)
    const key = keyOf(2, 1)
    log.birth(1000, [2])
    log.write(2000, 1, caller.next({ put: { key, value: utf8('a'), ttlMs: 100 } }))
    await applyAll(machine, log)
    expect(await machine.read(2, key, 2040)).toMatchObject({ kind: 'found', expiresInMs: 60 })
    expect(await textAt(machine, 2, key, 2100)).toBe('needs-time-mark')
    expect(await textAt(machine, 2, key, 0)).toBe('a')
    log.mark(2100)
    await applyAll(machine, log)
    expect(await textAt(machine, 2, key, 2100)).toBe('absent')
    expect(machine.timeMs).toBe(2100)
    log.write(2050, 1, caller.next({ compareAndSet: { key, expectAbsent: true, value: utf8('b') } }))
    expect(written((await applyAll(machine, log))[0])[0]?.applied).toBe(true)
    expect(machine.timeMs).toBe(2100)
  })

  it.each([false, true])('bounds what an entry reads and writes (from disk: %s)', async (cold) => {
    const { machine, store } = await openMachine()
    const log = new LogBuilder()
    const caller = new Caller(1, 2)
    const large = new Uint8Array(3 * 1024 * 1024).fill(7)
    const keys = Array.from({ length: 12 }, (_, i) => keyOf(2, i))
    log.birth(0, [2])
    for (const key of keys) log.write(0, 1, caller.next({ put: { key, value: large } }))
    await applyAll(machine, log)
    store.cold = cold
    store.readAtOnceMax = 0
    // 36 MiB of writes for a hundred bytes each: the first six come to 18 MiB.
    const appends = keys.map((key) => caller.next({ append: { key, value: utf8('x') } }))
    log.write(1, 1, ...appends.map((command) => ({ ...command, lowestOutstanding: appends[0]?.sequence ?? 0 })))
    const results = written((await applyAll(machine, log))[0])
    expect(results.map((result) => result.length ?? result.error?.code)).toEqual([
      ...Array.from({ length: 6 }, () => large.length + 1),
      ...Array.from({ length: 6 }, () => pb.v1.ErrorCode.OVERLOADED),
    ])
    // The rest goes again, under the same numbers.
    log.write(2, 1, ...appends.slice(6).map((command) => ({ ...command, lowestOutstanding: appends[0]?.sequence ?? 0 })))
    expect(written((await applyAll(machine, log))[0]).every((result) => result.length === large.length + 1)).toBe(true)
    // What needs no value keeps no value, and reads few at a time.
    log.write(3, 1, ...keys.map((key) => caller.next({ delete: { key } })))
    expect(written((await applyAll(machine, log))[0]).every((result) => result.existed)).toBe(true)
    expect(store.readAtOnceMax).toBeLessThanOrEqual(16)
  })

  it('compares, counts and reports by the head of a long value', async () => {
    const { machine } = await openMachine()
    const log = new LogBuilder()
    const caller = new Caller(1, 2)
    const key = keyOf(2, 1)
    const long = new Uint8Array(5000).fill(0x31)
    log.birth(0, [2])
    log.write(0, 1, caller.next({ put: { key, value: long } }))
    await applyAll(machine, log)
    log.write(0, 1, caller.next({ increment: { key, by: '1' } }))
    log.write(0, 1, caller.next({ compareAndSet: { key, expectAbsent: true, value: utf8('a') } }))
    log.write(0, 1, caller.next({ batch: { checks: [{ key, revision: 1 }], writes: [{ put: { key: keyOf(2, 2), value: utf8('b') } }] } }))
    const results = (await applyAll(machine, log)).map((result) => written(result)[0])
    expect(results[0]?.error?.code).toBe(pb.v1.ErrorCode.INVALID_ARGUMENT)
    expect(results[1]).toMatchObject({ applied: false, current: { found: true, valueOmitted: true, revision: 1 } })
    expect(results[2]).toEqual({ revision: 2 })
    log.write(0, 1, caller.next({ compareAndSet: { key, expectValue: long, value: utf8('a') } }))
    expect(written((await applyAll(machine, log))[0])).toEqual([{ applied: true, revision: 3 }])
  })

  it('makes no session of bytes that are no batch, and refuses absurd ones', async () => {
    const { machine } = await openMachine()
    const log = new LogBuilder()
    log.birth(0, [2])
    const random = new SeededRandom(5)
    for (let i = 0; i < 200; i++) {
      const body = random.bytes(random.below(60))
      const data = new Uint8Array(10 + body.length)
      data[0] = 1
      data[1] = 1
      data.set(body, 10)
      log.add(data)
    }
    const results = await applyAll(machine, log)
    expect(results).toHaveLength(201)
    expect(machine.status().shards).toMatchObject([{ shard: 2, revision: 0 }])
  })

  it('stops at an entry of an unknown version or kind, every time', async () => {
    for (const data of [
      new Uint8Array([2, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
      new Uint8Array([1, 99, 0, 0, 0, 0, 0, 0, 0, 0]),
      new Uint8Array([1]),
    ]) {
      const { machine } = await openMachine()
      const log = new LogBuilder()
      log.birth(0, [2])
      log.add(data)
      await expect((async () => applyAll(machine, log))()).rejects.toThrow(UnknownEntryError)
      expect(machine.applied).toBe(0)
    }
  })

  it.each([
    ['serving', undefined],
    ['exporting', undefined],
    ['released', pb.v1.ErrorCode.WRONG_GROUP],
    ['absent', pb.v1.ErrorCode.WRONG_GROUP],
    ['importing', pb.v1.ErrorCode.SHARD_MOVING],
    ['refused', pb.v1.ErrorCode.SHARD_MOVING],
  ] as const)('serves writes, reads and scans of a shard that is %s, or none of them', async (state, code) => {
    const before = await openMachine()
    const log = new LogBuilder()
    const caller = new Caller(1, 2)
    const put = caller.next({ put: { key: keyOf(2, 1), value: utf8('a') } })
    log.birth(0, [2])
    log.write(0, 1, put)
    await applyAll(before.machine, log)
    await before.machine.flush()
    const record: ShardRecord = { ...unbornShard, state, newestId: 5, attempt: 1, epoch: 1 }
    before.store.write(new WriteBatch().put(migrationKey(2), encodeShardRecord(record)))
    await before.store.seal(before.store.durableMark ?? new Uint8Array(0))
    const { machine } = await openMachine(before.store.crash())
    log.write(0, 1, put)
    log.write(0, 1, caller.next({ put: { key: keyOf(2, 1), value: utf8('b') } }))
    const results = (await applyAll(machine, log)).flatMap(written)
    expect(results.map(({ error }) => error?.code)).toEqual([code, code])
    expect(await textAt(machine, 2, keyOf(2, 1))).toBe(code === undefined ? 'b' : 'refused')
    const scan = await machine.scan({
      shards: [2],
      start: utf8(''),
      end: utf8(''),
      reverse: false,
      limit: 5,
      pageBytes: 10,
      leaderTimeMs: 0,
    })
    expect(scan).toMatchObject(code === undefined ? { kind: 'page' } : { kind: 'refused', shard: 2, state })
    expect(machine.status().shards).toMatchObject([{ state, revision: code === undefined ? 2 : 1 }])
  })

  it('keeps with its contents who the members are, and on which nodes', async () => {
    const { machine, store } = await openMachine()
    const log = new LogBuilder()
    log.birth(0, [2])
    const change = { transition: 'auto', steps: [{ type: 'add-learner', replica: 7 }] } as const
    const context = encodeMembersContext({ nodes: new Map([[7, 'n4']]), configNumber: 12 })
    log.entries.push({ term: 1, index: 2, kind: EntryKind.ConfChange, data: encodeConfChange(change, context) })
    log.mark(5)
    await applyAll(machine, log)
    await machine.flush()
    const { durable } = (await openMachine(store.crash())).machine
    expect(durable).toMatchObject({ index: 3, changedAt: 2, configNumber: 12, conf: { voters: [1, 2, 3], learners: [7] } })
    expect(durable.nodes.get(7)).toBe('n4')
  })

  it('takes entries without data and of another leader as nothing', async () => {
    const { machine } = await openMachine()
    const log = new LogBuilder()
    log.add(new Uint8Array(0), 3)
    expect(await applyAll(machine, log)).toEqual([{ kind: 'none' }])
    await machine.flush()
    expect(machine.durable).toMatchObject({ index: 1, term: 3, conf: { voters: [1, 2, 3] } })
  })

  it('seals when the store wants it, between two entries, and says what became durable', async () => {
    const { machine, store, clock } = await openMachine()
    clock.stepMs = 5 // every slice is one entry
    const log = new LogBuilder()
    log.birth(0, [2])
    const caller = new Caller(1, 2)
    for (let i = 0; i < 4; i++) log.write(0, 1, caller.next({ put: { key: keyOf(2, i), value: utf8('x') } }))
    const marks: number[] = []
    machine.onDurable = () => marks.push(machine.durable.index)
    store.wantsSeal = true
    await applyAll(machine, log)
    expect(marks).toEqual([1])
    await machine.flush()
    await machine.flush()
    expect(marks).toEqual([1, 5])
    const again = await openMachine(store.crash())
    expect(again.machine.durable.index).toBe(5)
    expect(await again.machine.stateHash()).toEqual(await machine.stateHash())
  })

  it('stops after a seal that failed', async () => {
    const { machine, store } = await openMachine()
    const log = new LogBuilder()
    log.birth(0, [2])
    await applyAll(machine, log)
    store.failSeal = new Error('EIO')
    await expect(machine.flush()).rejects.toThrow('EIO')
    log.mark(5)
    expect(() => machine.apply(log.entries.slice(1))).toThrow('EIO')
    await expect(machine.flush()).rejects.toThrow('EIO')
  })

  it('scans shards merged, in both directions, page by page', async () => {
    const { machine, store } = await openMachine()
    const log = new LogBuilder()
    const shards = [1, 2, 3]
    log.birth(0, shards)
    const keys: string[] = []
    for (const shard of shards) {
      const caller = new Caller(shard, shard)
      for (let i = 0; i < 20; i++) {
        const key = keyOf(shard, i)
        keys.push(utf8Text(key))
        log.write(0, shard, caller.next({ put: { key, value: utf8(`${i}`), ...(i === 7 ? { ttlMs: 10 } : {}) } }))
      }
    }
    log.mark(20)
    await applyAll(machine, log)
    const live = keys.filter((key) => !key.startsWith('k7-')).sort()
    for (const cold of [false, true]) {
      store.cold = cold
      for (const reverse of [false, true]) {
        const found: string[] = []
        let start: Uint8Array = new Uint8Array(0)
        let end: Uint8Array = new Uint8Array(0)
        for (let more = true; more; ) {
          const page = await machine.scan({ shards, start, end, reverse, limit: 7, pageBytes: 1000, leaderTimeMs: 20 })
          if (page.kind !== 'page') throw new Error(page.kind)
          expect(page.entries.length).toBeLessThanOrEqual(7)
          found.push(...page.entries.map(({ key }) => utf8Text(key)))
          more = page.more
          const last = page.entries.at(-1)?.key ?? new Uint8Array(0)
          if (reverse) end = last
          else start = utf8(`${utf8Text(last)}\0`)
        }
        expect(found).toEqual(reverse ? [...live].reverse() : live)
      }
    }
    expect(store.openIterators).toBe(0)
    expect(store.snapshots.every(({ released }) => released)).toBe(true)
    expect(
      await machine.scan({ shards: [1, 9], start: utf8(''), end: utf8(''), reverse: false, limit: 5, pageBytes: 10, leaderTimeMs: 0 }),
    ).toEqual({
      kind: 'refused',
      shard: 9,
      state: 'unborn',
    })
  })

  it('ends a page at its bytes, but gives at least one entry; and asks for a time mark', async () => {
    const { machine } = await openMachine()
    const log = new LogBuilder()
    const caller = new Caller(1, 2)
    log.birth(0, [2])
    for (let i = 0; i < 3; i++) log.write(0, 1, caller.next({ put: { key: keyOf(2, i), value: new Uint8Array(100) } }))
    log.write(0, 1, caller.next({ put: { key: keyOf(2, 9), value: utf8('t'), ttlMs: 50 } }))
    await applyAll(machine, log)
    const scan = { shards: [2], start: utf8(''), end: utf8(''), reverse: false, limit: 100, leaderTimeMs: 0 }
    const one = await machine.scan({ ...scan, pageBytes: 1 })
    expect(one.kind === 'page' && [one.entries.length, one.more]).toEqual([1, true])
    const all = await machine.scan({ ...scan, pageBytes: 10_000 })
    expect(all.kind === 'page' && [all.entries.length, all.more]).toEqual([4, false])
    expect((await machine.scan({ ...scan, pageBytes: 10_000, leaderTimeMs: 50 })).kind).toBe('needs-time-mark')
  })

  it('gives a digest that does not see how time or seals stood, and does see every record', async () => {
    const log = new LogBuilder()
    const caller = new Caller(1, 2)
    log.birth(0, [2])
    log.write(0, 1, caller.next({ put: { key: keyOf(2, 1), value: utf8('a'), ttlMs: 10 } }))
    log.write(0, 1, caller.next({ put: { key: keyOf(2, 2), value: utf8('b') } }))
    log.mark(10)
    const hashes: string[] = []
    const { machine, store } = await openMachine()
    for (const entry of log.entries) {
      await machine.apply([entry])
      hashes.push((await machine.stateHash()).hash)
      if (entry.index === 2) await machine.flush()
    }
    expect(new Set(hashes).size).toBe(4)
    expect(store.openIterators).toBe(0)
    const other = await openMachine()
    other.store.cold = true
    await other.machine.apply(log.entries)
    expect(await other.machine.stateHash()).toEqual({ index: 4, hash: hashes[3] })
  })
})
