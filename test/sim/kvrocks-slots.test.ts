/**
 * What Kvrocks tests of moving slots (slotmigrate, slotimport, and the topology of cluster), told again for shards that move between two groups of three
 * replicas. A slot there is a shard here, a node a group, SETSLOT the commit in the controllers' log, MOVED the answer WRONG_GROUP.
 */
import { afterEach, describe, expect, it } from 'vitest'
import { must } from '../../base/assert.ts'
import { pb } from '../../proto/messages.ts'
import { migrationFiles, recordsLeft } from './left-behind.ts'
import type { MigrationStep } from './migration-steps.ts'
import { ScriptStage, type StageOptions } from './script-stage.ts'
import { World } from './world.ts'

const callMs = 10_000
const { MigrationPhase, ErrorCode, Steering } = pb.v1

let stage: ScriptStage
let world: World

async function open(seed: number, options: StageOptions = {}): Promise<number> {
  world = new World({ seed })
  stage = new ScriptStage(world, options)
  await stage.open()
  await stage.fill()
  return stage.someShard()
}

afterEach(() => stage.close())

const call = <T>(promise: Promise<T>) => world.settle(promise, 2 * callMs)
const move = (shard: number, group: string) => stage.admin.move({ shard, group, author: 'test' }, { timeoutMs: callMs })
const utf8 = (text: string) => new TextEncoder().encode(text)

/** So many records of about a kilobyte in one shard. */
async function fillShard(shard: number, records: number): Promise<void> {
  for (let i = 0; i < records; i++) await stage.put(stage.keyIn(shard, 100 + i), `${i}`.padEnd(1000, '.'))
}

function filesAt(nodes: readonly string[]): string[] {
  return nodes.flatMap((name) => migrationFiles(stage.cluster, name))
}

/** Soon nothing of the shard is on these nodes, and nothing of a migration. */
async function hasNothing(nodes: readonly string[], shard: number): Promise<void> {
  const isAbsent = (name: string) => stage.cluster.hosted(name).every(({ stateMachine }) => stateMachine.shardState(shard) === 'absent')
  await world.runUntil(() => nodes.every(isAbsent) && filesAt(nodes).length === 0, 20_000)
  for (const name of nodes) expect(await recordsLeft(world, stage.cluster, name, [shard])).toEqual([0])
}

describe('a migration that cannot be', () => {
  it('to the group that has the shard: nothing moves', async () => {
    const shard = await open(1001)
    const { migrations, note } = await call(move(shard, 'g1'))
    expect(migrations).toEqual([])
    expect(note).toBe(`shard ${shard} is at g1 already: it is pinned there now`)
    expect(stage.stateIn(stage.uid('g1'), shard)).toBe('serving')
    await stage.finish()
  })

  it('to who is no group, a replica of one say, or of a shard that there is not: refused', async () => {
    const shard = await open(1002)
    const { number } = stage.config
    await expect(call(move(shard, 'n4'))).rejects.toMatchObject({ code: 'NOT_FOUND', definite: true })
    await expect(call(move(16, 'g2'))).rejects.toMatchObject({ definite: true })
    expect(stage.config.number).toBe(number)
    await stage.finish()
  })

  it('of a shard that moves already: refused until it is through; of others at once: done', async () => {
    const shard = await open(1003, { migrationBytesPerSecond: 50_000 })
    const [other = 0, third = 0] = stage.config.shardsOf(stage.uid('g1')).filter((one) => one !== shard)
    await fillShard(shard, 50)
    const ids = [await stage.ask(shard, 'g2'), await stage.ask(other, 'g2'), await stage.ask(third, 'g2')]
    await expect(call(move(shard, 'g2'))).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' })
    for (const id of ids) expect(await stage.ended(id, 60_000)).toBe('done')
    await stage.finish()
  })
})

describe('a target that is not there', () => {
  it('when the migration begins: it fails after a while, says why, and the source has served all along', async () => {
    const shard = await open(1011)
    for (const name of stage.targetNodes) stage.cluster.kill(name)
    const id = await stage.ask(shard, 'g2')
    for (let i = 0; i < 20; i++) {
      await stage.put(stage.keyIn(shard, 5), `value ${i}`)
      await world.runFor(500)
    }
    expect(await stage.ended(id, 180_000)).toBe('aborted')
    expect((await stage.migration(id)).reason).toMatch(/g2 has lost its majority/)
    expect(stage.stateIn(stage.uid('g1'), shard)).toBe('serving')
    await stage.finish()
  })

  it('any more, killed in the middle of many records: it fails, the source serves, and who comes back drops what it had', async () => {
    const shard = await open(1012, { migrationBytesPerSecond: 20_000 })
    await fillShard(shard, 100)
    const id = await stage.ask(shard, 'g2')
    await world.runUntil(() => stage.stateIn(stage.uid('g2'), shard) === 'importing', 20_000)
    await world.runFor(1000)
    expect(filesAt(stage.targetNodes).length).toBeGreaterThan(0)
    for (const name of stage.targetNodes) stage.cluster.powerLoss(name)
    await stage.put(stage.keyIn(shard, 100), 'written while the target is dead')
    expect(await stage.ended(id, 180_000)).toBe('aborted')
    for (const name of stage.targetNodes) stage.cluster.restart(name)
    await world.runUntil(() => stage.stateIn(stage.uid('g2'), shard) === 'absent', 30_000)
    await hasNothing(stage.targetNodes, shard)
    await stage.finish()
  })
})

describe('a source that is killed while it migrates', () => {
  it('and the migration cancelled: the target drops the part that it has', async () => {
    const shard = await open(1021, { migrationBytesPerSecond: 20_000 })
    await fillShard(shard, 100)
    const id = await stage.ask(shard, 'g2')
    await world.runUntil(() => stage.stateIn(stage.uid('g2'), shard) === 'importing', 20_000)
    await world.runFor(1000)
    for (const name of stage.sourceNodes) stage.cluster.kill(name)
    await call(stage.admin.steer({ shard, steering: Steering.CANCEL, author: 'test' }, { timeoutMs: callMs }))
    expect(await stage.ended(id)).toBe('aborted')
    await world.runUntil(() => stage.stateIn(stage.uid('g2'), shard) === 'absent', 20_000)
    await hasNothing(stage.targetNodes, shard)
    for (const name of stage.sourceNodes) stage.cluster.restart(name)
    await stage.finish()
  })

  it('and comes back: the migration goes on', async () => {
    const shard = await open(1022, { migrationBytesPerSecond: 20_000 })
    await fillShard(shard, 100)
    const id = await stage.ask(shard, 'g2')
    await world.runUntil(() => stage.stateIn(stage.uid('g1'), shard) === 'exporting', 20_000)
    await world.runFor(1000)
    for (const name of stage.sourceNodes) stage.cluster.powerLoss(name)
    await world.runFor(5000)
    for (const name of stage.sourceNodes) stage.cluster.restart(name)
    expect(await stage.ended(id, 60_000)).toBe('done')
    await stage.finish()
  })
})

describe('what a shard holds', () => {
  it('all deleted in the middle: the target has none of it', async () => {
    const shard = await open(1031, { migrationBytesPerSecond: 20_000 })
    await fillShard(shard, 60)
    const id = await stage.ask(shard, 'g2')
    await world.runUntil(() => stage.stateIn(stage.uid('g1'), shard) === 'exporting', 20_000)
    await world.runFor(500)
    for (let i = 0; i < 60; i++) await stage.delete(stage.keyIn(shard, 100 + i))
    for (let i = 0; i < 3; i++) await stage.delete(stage.keyIn(shard, i))
    expect(stage.stateIn(stage.uid('g1'), shard)).toBe('exporting')
    expect(await stage.ended(id, 60_000)).toBe('done')
    await stage.finish()
  })

  it('nothing: it moves, and is empty there', async () => {
    const shard = await open(1032)
    for (let i = 0; i < 3; i++) await stage.delete(stage.keyIn(shard, i))
    await stage.move(shard, 'g2')
    await stage.finish()
  })

  it('keys and values of any bytes, empty values among them: as they were', async () => {
    const shard = await open(1033)
    const suffixes = [[0], [255], [0, 0], [13, 10, 0], [195, 40], Array.from({ length: 256 }, (_, i) => i)]
    // A tag in braces says which shard it is; what follows it may be any bytes.
    const tag = `{${stage.keyIn(shard, 0)}}`
    const records = suffixes.map(
      (suffix, i) => [Buffer.concat([utf8(tag), Uint8Array.from(suffix)]), Buffer.from(i === 0 ? [] : suffix)] as const,
    )
    for (const [key, value] of records) await call(stage.client.put(key, value))
    await stage.move(shard, 'g2')
    for (const [key, value] of records) expect((await call(stage.client.get(key)))?.value).toEqual(value)
    expect((await call(stage.client.explain(must(records[0], 'a record')[0]))).group).toBe('g2')
    await stage.finish()
  })

  it('what is written while it moves arrives, once', async () => {
    const shard = await open(1034, { migrationBytesPerSecond: 20_000 })
    await fillShard(shard, 60)
    const counter = stage.keyIn(shard, 50)
    const id = await stage.ask(shard, 'g2')
    let count = 0
    while ((await stage.migration(id)).phase === MigrationPhase.COPYING) {
      await call(stage.client.increment(counter))
      count++
    }
    expect(count).toBeGreaterThan(10)
    expect(await stage.ended(id)).toBe('done')
    expect((await call(stage.client.increment(counter))).value).toBe(BigInt(count + 1))
    await stage.finish()
  })
})

describe('who has given a shard away', () => {
  it('says so to who writes, deletes, reads or asks whether a key is there, and keeps nothing', async () => {
    const shard = await open(1041)
    const [source, key] = [stage.uid('g1'), utf8(stage.keyIn(shard, 0))]
    await stage.move(shard, 'g2')
    const writes = { clientId: world.random.bytes(16) }
    const command = { shard, sequence: 1, lowestOutstanding: 1, first: true }
    for (const what of [{ put: { key, value: utf8('late') } }, { delete: { key } }, { append: { key, value: utf8('late') } }]) {
      const reply = await stage.raw(source, { writes: { ...writes, commands: [{ ...command, ...what }] } })
      expect(reply.writes[0]?.error).toMatchObject({ code: ErrorCode.WRONG_GROUP })
    }
    for (const consistency of [pb.v1.Consistency.LINEARIZABLE, pb.v1.Consistency.STALE]) {
      const reply = await stage.raw(source, { reads: [{ shard, key, consistency, maxStalenessMs: 60_000 }] })
      expect(reply.reads[0]?.error).toMatchObject({ code: ErrorCode.WRONG_GROUP })
    }
    await hasNothing(stage.sourceNodes, shard)
    await stage.finish()
  })

  it('has it until the commit, and drops it then', async () => {
    const shard = await open(1042)
    const states: string[] = []
    stage.onStep(({ step }) => {
      if (step === 'commit' || step === 'ingest') states.push(`${step}: ${stage.stateIn(stage.uid('g1'), shard)}`)
    })
    await stage.move(shard, 'g2')
    expect(states).toEqual(['ingest: exporting', 'commit: exporting'])
    await hasNothing(stage.sourceNodes, shard)
    await stage.finish()
  })
})

describe('the course of a migration', () => {
  it('that is slow: it runs after a second and a half, tells how far it is, and ends', async () => {
    const shard = await open(1051, { migrationBytesPerSecond: 20_000 })
    await fillShard(shard, 60)
    const id = await stage.ask(shard, 'g2')
    await world.runFor(1500)
    const { phase, bytesCopied, bytesTotal } = await stage.migration(id)
    expect(phase).toBe(MigrationPhase.COPYING)
    expect(bytesTotal).toBeGreaterThan(60_000)
    expect(bytesCopied).toBeLessThan(bytesTotal ?? 0)
    expect(await stage.ended(id, 60_000)).toBe('done')
    await stage.finish()
  })

  it('goes through its states in their order, in both groups', async () => {
    const shard = await open(1052)
    const steps: MigrationStep[] = []
    stage.onStep(({ step }) => steps.push(step))
    await stage.move(shard, 'g2')
    expect(steps.filter((step) => step !== 'replay' && step !== 'done' && step !== 'clean')).toEqual([
      'import',
      'export',
      'files',
      'ingest',
      'commit',
      'release',
      'activate',
    ])
    expect(steps.slice(-2)).toEqual(['done', 'clean'])
    await stage.finish()
  })

  it('again and again, there and back, and asked for twice under one id', async () => {
    const shard = await open(1053)
    for (let round = 0; round < 4; round++) {
      const group = round % 2 === 0 ? 'g2' : 'g1'
      const requestId = `round ${round}`
      const first = await call(stage.admin.move({ shard, group, author: 'test', requestId }, { timeoutMs: callMs }))
      expect(await stage.ended(must(first.migrations[0], 'a migration'))).toBe('done')
      const again = await call(stage.admin.move({ shard, group, author: 'test', requestId }, { timeoutMs: callMs }))
      expect(again.migrations).toEqual(first.migrations)
      await stage.put(stage.keyIn(shard, 1), `after round ${round}`)
      await stage.checkData()
    }
    await stage.finish()
  })

  it('of all shards of a group at once', async () => {
    await open(1054)
    const shards = stage.config.shardsOf(stage.uid('g1'))
    const ids: number[] = []
    for (const shard of shards) ids.push(await stage.ask(shard, 'g2'))
    for (const id of ids) expect(await stage.ended(id, 60_000)).toBe('done')
    expect(stage.config.shardsOf(stage.uid('g2')).length).toBe(16)
    await stage.finish()
  })

  it.each(['stall', 'refuse'] as const)('over a connection that breaks (%s): it goes on when it is mended', async (mode) => {
    const shard = await open(1055, { migrationBytesPerSecond: 20_000 })
    await fillShard(shard, 60)
    const id = await stage.ask(shard, 'g2')
    await world.runUntil(() => stage.stateIn(stage.uid('g1'), shard) === 'exporting', 20_000)
    await world.runFor(1000)
    stage.cluster.network.partition([stage.sourceNodes, stage.targetNodes], mode)
    await world.runFor(10_000)
    expect((await stage.migration(id)).phase).toBe(MigrationPhase.COPYING)
    await stage.put(stage.keyIn(shard, 101), 'written while the groups are apart')
    stage.cluster.network.heal()
    expect(await stage.ended(id, 60_000)).toBe('done')
    await stage.finish()
  })
})

describe('who owns what', () => {
  it('is never taken from who knows less: nodes and clients keep the newest config that they have seen', async () => {
    const shard = await open(1061)
    const { cluster } = stage
    const sleeper = must(
      cluster.controllerNames.find((name) => name !== cluster.controllerLeader()),
      'a follower',
    )
    const others = cluster.names.filter((name) => name !== sleeper)
    cluster.network.partition([[sleeper], [...others, 'client', 'admin', 'probe']])
    await stage.move(shard, 'g2')
    const { number } = stage.config
    while ((await stage.configNumberOf('n1')) < number) await world.runFor(20)
    expect(cluster.controllerState(sleeper)?.configNumber).toBeLessThan(number)
    // Now the one that slept is all that nodes and client can reach, and it still knows no more than it did.
    cluster.network.heal()
    const awake = cluster.controllerNames.filter((name) => name !== sleeper)
    cluster.network.partition([awake, [sleeper, ...cluster.nodeNames, 'client', 'probe']])
    await world.runFor(5000)
    expect(cluster.controllerState(sleeper)?.configNumber).toBeLessThan(number)
    for (const name of cluster.nodeNames) expect(await stage.configNumberOf(name)).toBe(number)
    expect(await call(stage.client.explain(stage.keyIn(shard, 0)))).toMatchObject({ group: 'g2', configNumber: number })
    await stage.put(stage.keyIn(shard, 0), 'written by what was known already')
    await stage.finish()
  })

  it('is what it was after a power loss of all controllers, and of everything', async () => {
    const shard = await open(1062)
    await stage.move(shard, 'g2')
    const before = stage.config
    for (const names of [stage.cluster.controllerNames, stage.cluster.names]) {
      for (const name of names) stage.cluster.powerLoss(name)
      await world.runFor(500)
      for (const name of names) stage.cluster.restart(name)
      await world.runUntil(() => stage.cluster.isReady && stage.cluster.controllerLeader() !== undefined, 30_000)
      expect(stage.config).toEqual(before)
      await stage.checkData()
    }
    await stage.finish()
  })
})
