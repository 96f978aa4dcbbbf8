import { describe, expect, it } from 'vitest'
import { utf8 } from '../../base/bytes.ts'
import { BlockCache, Database, MemtableBudget } from '../../lsm/index.ts'
import { ExpiryHorizons, timesOf } from '../../shardserver/expiry-horizons.ts'
import { loadGroupStateMachine } from '../../shardserver/group-state-machine.ts'
import { shardJobs } from '../../shardserver/jobs.ts'
import { openGroupStateMachine } from '../../shardserver/open-group.ts'
import { recordKey, shardOfKey } from '../../shardserver/record.ts'
import { GroupSmallState } from '../../shardserver/small-state.ts'
import { firstOf } from '../raft/standings.ts'
import { SimNetwork } from '../sim/sim-network.ts'
import { SimProcess } from '../sim/sim-process.ts'
import { World } from '../sim/world.ts'
import { Caller, keyOf, LogBuilder, openMachine, shardCount, written } from './builders.ts'

const everything: Parameters<ExpiryHorizons['horizons']>[0] = { lower: new Uint8Array(0), upper: new Uint8Array([0xff, 0xff]) }

/** 'shard:moment' of each. */
function shown(horizons: ExpiryHorizons, range = everything): string[] {
  return horizons.horizons(range).map(({ lower, moment }) => `${shardOfKey(lower)}:${moment}`)
}

function bornState(...shards: number[]): GroupSmallState {
  const state = new GroupSmallState()
  for (const shard of shards) state.move(shard, { kind: 'birth' })
  return state
}

/** By a migration of the given id to another group. */
function leave(state: GroupSmallState, shard: number, id: number): void {
  state.move(shard, { kind: 'export', id, attempt: 1, index: 10, digest: new Uint8Array(0) })
  state.move(shard, { kind: 'release', id, index: 11 })
  state.move(shard, { kind: 'outcome', id, outcome: 'done', epoch: 2 })
}

describe('the horizons of a group', () => {
  it('are the times of its shards as of what is durable, not of what is applied or on its way', () => {
    const horizons = new ExpiryHorizons()
    expect(shown(horizons)).toEqual([])
    const state = bornState(300, 2, 1)
    state.timeTo(10)
    horizons.begin(state)
    state.timeTo(20)
    const sealed = timesOf(state)
    state.timeTo(30)
    expect(shown(horizons)).toEqual(['1:10', '2:10', '300:10'])
    horizons.becomeDurable(sealed)
    expect(shown(horizons)).toEqual(['1:20', '2:20', '300:20'])
  })

  it('hold for records alone, and are given for those shards that a compaction meets', () => {
    const horizons = new ExpiryHorizons()
    const state = bornState(1, 2, 3)
    state.timeTo(10)
    horizons.begin(state)
    expect(horizons.horizons(everything)[0]).toEqual({ lower: new Uint8Array([0, 1, 16]), upper: new Uint8Array([0, 1, 17]), moment: 10 })
    expect(shown(horizons, { lower: recordKey(2, utf8('a')), upper: recordKey(2, utf8('b')) })).toEqual(['2:10'])
    expect(shown(horizons, { lower: recordKey(1, utf8('a')), upper: new Uint8Array([0, 2]) })).toEqual(['1:10'])
    expect(shown(horizons, { lower: recordKey(3, utf8('a')), upper: new Uint8Array([0xff, 0xff, 2, 0, 1]) })).toEqual(['3:10'])
  })

  it('end with the shard: the time of its next life here may lie before', () => {
    const horizons = new ExpiryHorizons()
    const state = bornState(1, 2)
    state.timeTo(10)
    // As one that came from a group whose time is far ahead.
    const shard = state.shards.get(1)
    if (shard !== undefined) shard.timeOffsetMs = 5000
    horizons.begin(state)
    expect(shown(horizons)).toEqual(['1:5010', '2:10'])
    leave(state, 1, 1)
    expect(shown(horizons)).toEqual(['2:10'])
    expect(state.move(1, { kind: 'rebirth', epoch: 3 }).kind).toBe('moved')
    // Durable is the former life, whose tables are there still.
    expect(shown(horizons)).toEqual(['2:10'])
    horizons.becomeDurable(timesOf(state))
    expect(shown(horizons)).toEqual(['1:10', '2:10'])
  })

  it('are not given for a shard that comes in before it is served', () => {
    const horizons = new ExpiryHorizons()
    const state = bornState(2)
    state.timeTo(1_000_000)
    state.move(1, { kind: 'import', id: 1, attempt: 1 })
    horizons.begin(state)
    expect(shown(horizons)).toEqual(['2:1000000'])
    state.move(1, { kind: 'ingest', id: 1, attempt: 1, cut: 5, digest: new Uint8Array(16) })
    horizons.becomeDurable(timesOf(state))
    expect(shown(horizons)).toEqual(['2:1000000'])
  })

  it('of a state that is replaced are forgotten, also where a seal of it ends meanwhile', () => {
    const horizons = new ExpiryHorizons()
    const state = bornState(1)
    state.timeTo(10)
    horizons.begin(state)
    const sealed = timesOf(state)
    horizons.forget()
    horizons.becomeDurable(sealed)
    expect(shown(horizons)).toEqual([])
    const next = bornState(1)
    next.timeTo(4)
    horizons.begin(next)
    horizons.becomeDurable(sealed)
    expect(shown(horizons)).toEqual(['1:4'])
  })
})

describe('a group state machine', () => {
  it('moves its horizons when a seal is durable, to the times at which it was begun', async () => {
    const log = new LogBuilder()
    log.birth(1000, [1])
    log.mark(2000)
    log.mark(3000)
    const { machine, horizons } = await openMachine()
    await machine.apply(log.entries.slice(0, 1))
    await machine.flush()
    await machine.apply(log.entries.slice(1, 2))
    const flushed = machine.flush()
    expect(shown(horizons)).toEqual(['1:1000'])
    await machine.apply(log.entries.slice(2))
    await flushed
    expect(machine.timeMs).toBe(3000)
    expect(shown(horizons)).toEqual(['1:2000'])
  })

  it('gives no horizon while a snapshot takes the place of everything', async () => {
    const log = new LogBuilder()
    log.birth(1000, [1])
    log.mark(2000)
    const source = await openMachine()
    await source.machine.apply(log.entries)
    const snapshot = await source.machine.exportSnapshot('g/snapshots/1')
    const { machine, store, horizons } = await openMachine()
    await machine.apply(log.entries.slice(0, 1))
    await machine.flush()
    expect(shown(horizons)).toEqual(['1:1000'])
    const ingest = store.ingest.bind(store)
    const seen: string[][] = []
    store.ingest = async (...given) => {
      seen.push(shown(horizons))
      await ingest(...given)
      seen.push(shown(horizons))
    }
    await machine.installSnapshot(snapshot, 'g/snapshots/1')
    expect(seen).toEqual([[], []])
    expect(shown(horizons)).toEqual(['1:2000'])
  })
})

interface Opened {
  readonly database: Database
  readonly machine: Awaited<ReturnType<typeof loadGroupStateMachine>>
}

/** As `openGroupStateMachine`, with the database at hand. */
async function openBoth(process: SimProcess): Promise<Opened> {
  const { fileSystem, executor, clock, logger } = process
  const horizons = new ExpiryHorizons()
  const folder = 'data/g1'
  const database = await Database.open({ fileSystem, executor, clock, logger, folder, wal: false, expiry: horizons })
  const machine = await loadGroupStateMachine(database, { fileSystem, executor, clock, logger, folder, first: () => firstOf(3), horizons })
  return { database, machine }
}

describe('an expired record of a group over the LSM', () => {
  const shard = 1
  const key = keyOf(shard, 1)
  const found = async (database: Database) => (await database.get(recordKey(shard, key))) !== undefined

  /**
   * Were the horizon the time of what is applied, the record would be gone when the power goes, and the append, which is applied again at a time at
   * which it lived, would begin with nothing: a replica that differs from the others for ever.
   */
  it('is dropped once a state that is behind its end is durable, not before: entries are applied again after a crash', async () => {
    const log = new LogBuilder()
    const caller = new Caller(1, shard)
    log.birth(0, [shard])
    log.write(10, 1, caller.next({ put: { key, value: utf8('abc'), ttlMs: 100 } }))
    log.write(50, 1, caller.next({ put: { key: keyOf(shard, 2), value: utf8('x') } }))
    log.write(60, 1, caller.next({ append: { key, value: utf8('d') } }))
    log.mark(200)
    const model = await openMachine()
    await model.machine.apply(log.entries)
    const expected = await model.machine.stateHash()
    const world = new World({ seed: 1 })
    let process = new SimProcess(world, { name: 'n1', network: new SimNetwork(world), jobs: shardJobs })
    const firstLife = async ({ machine, database }: Opened) => {
      await machine.apply(log.entries.slice(0, 2))
      await machine.flush()
      await machine.apply(log.entries.slice(2, 3))
      await machine.flush()
      const [result] = await machine.apply(log.entries.slice(3))
      expect(written(result)[0]?.length).toBe(4)
      expect(await machine.read(shard, key, 0)).toEqual({ kind: 'absent' })
      await database.compactRange()
      expect(database.stats().compactions).toBeGreaterThan(0)
    }
    await world.settle(openBoth(process).then(firstLife))
    process.powerLoss()
    process = process.restart()
    const secondLife = async ({ machine, database }: Opened) => {
      expect(machine.durable.index).toBe(3)
      expect(await found(database)).toBe(true)
      await database.compactRange()
      const [result] = await machine.apply(log.entries.slice(3))
      expect(written(result)[0]?.length).toBe(4)
      expect(await machine.stateHash()).toEqual(expected)
      await machine.flush()
      expect(await found(database)).toBe(true)
      await database.compactRange()
      expect(await found(database)).toBe(false)
      expect(await machine.stateHash()).toEqual(expected)
      await machine.close()
    }
    await world.settle(openBoth(process).then(secondLife))
  })

  it('goes by itself while others are written', async () => {
    const log = new LogBuilder()
    const caller = new Caller(1, shard)
    log.birth(0, [shard])
    log.write(10, 1, caller.next({ put: { key, value: utf8('abc'), ttlMs: 100 } }))
    for (let i = 0; i < 8; i++) log.write(200 + i, 1, caller.next({ put: { key: keyOf(shard, 2 + i), value: utf8('x') } }))
    const world = new World({ seed: 2 })
    const process = new SimProcess(world, { name: 'n1', network: new SimNetwork(world), jobs: shardJobs })
    const { fileSystem, executor, clock, logger } = process
    const options = { fileSystem, executor, clock, logger, folder: 'data/g1', blockCache: new BlockCache(8192) }
    const memtableBudget = new MemtableBudget(4096)
    const life = async () => {
      const machine = await openGroupStateMachine({ ...options, memtableBudget, shardCount, first: () => firstOf(3) })
      for (const entry of log.entries) {
        await machine.apply([entry])
        await machine.flush()
      }
      await machine.close()
      const database = await Database.open({ ...options, wal: false })
      expect(await found(database)).toBe(false)
      expect(await database.get(recordKey(shard, keyOf(shard, 2)))).toBeDefined()
      await database.close()
    }
    await world.settle(life())
  })
})
