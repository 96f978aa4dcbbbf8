import { describe, expect, it } from 'vitest'
import { must } from '../../base/assert.ts'
import { readFile, replaceFile } from '../../base/file-system.ts'
import { BlockCache, MemtableBudget } from '../../lsm/index.ts'
import type { ExportedSnapshot } from '../../raft/state-machine.ts'
import type { GroupStateMachine } from '../../shardserver/group-state-machine.ts'
import { shardJobs } from '../../shardserver/jobs.ts'
import { openGroupStateMachine } from '../../shardserver/open-group.ts'
import { firstOf } from '../raft/standings.ts'
import { SimNetwork } from '../sim/sim-network.ts'
import { SimProcess } from '../sim/sim-process.ts'
import { World } from '../sim/world.ts'
import { conf, keyOf, openMachine, shardCount } from './builders.ts'
import { RandomHistory } from './group-history.ts'

const length = 400
const snapshotAt = 300
const behindAt = 120

function open(process: SimProcess): Promise<GroupStateMachine> {
  return openGroupStateMachine({
    fileSystem: process.fileSystem,
    executor: process.executor,
    clock: process.clock,
    logger: process.logger,
    folder: 'data/g1',
    first: () => firstOf(3),
    blockCache: new BlockCache(8192),
    memtableBudget: new MemtableBudget(4096),
    shardCount,
  })
}

interface Image {
  readonly snapshot: ExportedSnapshot
  readonly files: ReadonlyMap<string, Uint8Array>
}

/** What a replica that has applied up to `snapshotAt` gives. */
async function exported(history: RandomHistory): Promise<Image> {
  const world = new World({ seed: 1 })
  const process = new SimProcess(world, { name: 'source', network: new SimNetwork(world), jobs: shardJobs })
  const give = async () => {
    const machine = await open(process)
    await machine.apply(history.log.entries.slice(0, snapshotAt))
    const snapshot = await machine.exportSnapshot('data/g1/snapshots/1')
    await machine.apply(history.log.entries.slice(snapshotAt))
    await machine.flush()
    const files = new Map<string, Uint8Array>()
    for (const { name } of snapshot.files) files.set(name, await readFile(process.fileSystem, `data/g1/snapshots/1/${name}`))
    await machine.close()
    return { snapshot, files }
  }
  return await world.settle(give())
}

async function put(process: SimProcess, image: Image): Promise<void> {
  await process.fileSystem.makeFolder('data/fetch')
  for (const [name, bytes] of image.files) await replaceFile(process.fileSystem, `data/fetch/${name}`, bytes)
  for (const folder of ['data', '']) await process.fileSystem.syncFolder(folder)
}

describe('a snapshot of a group', () => {
  it('replaces everything in one step: with the power lost at any file operation, all of it is there or nothing', async () => {
    const history = new RandomHistory(5, length)
    const entries = history.log.entries
    const image = await exported(history)
    expect(image.snapshot.meta).toMatchObject({ index: snapshotAt, conf })
    expect(image.files.size).toBeGreaterThan(0)
    const model = await openMachine()
    await model.machine.apply(entries.slice(0, snapshotAt))
    const atSnapshot = await model.machine.stateHash()
    await model.machine.apply(entries.slice(snapshotAt))
    const atEnd = await model.machine.stateHash()
    const found = { old: 0, new: 0 }
    for (let operation = 1; ; operation++) {
      const world = new World({ seed: 100 + operation })
      let process = new SimProcess(world, { name: 'n1', network: new SimNetwork(world), jobs: shardJobs })
      let machine = await world.settle(open(process))
      await world.settle(put(process, image))
      await world.settle(Promise.resolve(machine.apply(entries.slice(0, behindAt))))
      if (operation % 2 === 0) void machine.flush().catch(() => undefined)
      const at = process.disk.operations + operation
      process.disk.inject = ({ index }) => (index === at ? 'crash' : undefined)
      let done = false
      machine.installSnapshot(image.snapshot, 'data/fetch').then(
        () => {
          done = true
        },
        (error: unknown) => world.fail(error),
      )
      await world.runUntil(() => done || !process.alive)
      // What was begun when it came to an end may be what is cut.
      await world.runFor(50)
      const wasCut = !process.alive
      process.disk.inject = undefined
      if (wasCut) {
        process = process.restart()
        machine = await world.settle(open(process))
        found[machine.durable.index === snapshotAt ? 'new' : 'old']++
        if (machine.durable.index !== snapshotAt) {
          expect(machine.durable.index).toBeLessThanOrEqual(behindAt)
          await world.settle(machine.installSnapshot(image.snapshot, 'data/fetch'))
        }
      }
      expect(machine.durable, `operation ${operation}`).toEqual(image.snapshot.meta)
      expect(await world.settle(machine.stateHash()), `operation ${operation}`).toEqual(atSnapshot)
      await world.settle(Promise.resolve(machine.apply(entries.slice(snapshotAt))))
      expect(await world.settle(machine.stateHash()), `operation ${operation}`).toEqual(atEnd)
      await world.settle(machine.close())
      if (!wasCut) break
    }
    expect(found.old).toBeGreaterThan(5)
    expect(found.new).toBeGreaterThan(0)
  }, 120_000)

  it('keeps reads that come while it is installed waiting, and answers them from the new state', async () => {
    const history = new RandomHistory(6, length)
    const image = await exported(history)
    const world = new World({ seed: 2 })
    const process = new SimProcess(world, { name: 'n1', network: new SimNetwork(world), jobs: shardJobs })
    const machine = await world.settle(open(process))
    await world.settle(put(process, image))
    const model = await openMachine()
    await model.machine.apply(history.log.entries.slice(0, snapshotAt))
    let done = false
    let waited = 0
    const reads: Promise<unknown>[] = []
    const installing = machine.installSnapshot(image.snapshot, 'data/fetch').then(() => {
      done = true
    })
    while (!done) {
      await world.runFor(0.3)
      const shard = must([...model.machine.status().shards][0], 'a shard').shard
      const read = machine.read(shard, keyOf(shard, 1), 0)
      if (read instanceof Promise) waited++
      reads.push(Promise.resolve(read))
    }
    await world.settle(installing)
    const status = machine.status()
    expect(status).toEqual(model.machine.status())
    await world.settle(Promise.all(reads))
    expect(waited).toBeGreaterThan(0)
    expect(machine.status()).toEqual(status)
  })
})
