import { describe, expect, it } from 'vitest'
import { must } from '../../base/assert.ts'
import { utf8 } from '../../base/bytes.ts'
import { joinPath, readFile } from '../../base/file-system.ts'
import { BlockCache, MemtableBudget } from '../../lsm/index.ts'
import { pb } from '../../proto/messages.ts'
import type { Entry } from '../../raft/core/types.ts'
import type { FileSet } from '../../raft/file-set.ts'
import { EntryCode } from '../../shardserver/entry.ts'
import { decodeExportList } from '../../shardserver/export-list.ts'
import type { GroupStateMachine } from '../../shardserver/group-state-machine.ts'
import { shardJobs } from '../../shardserver/jobs.ts'
import { openGroupStateMachine } from '../../shardserver/open-group.ts'
import { firstOf } from '../raft/standings.ts'
import { SimNetwork } from '../sim/sim-network.ts'
import { SimProcess } from '../sim/sim-process.ts'
import { World } from '../sim/world.ts'
import { Caller, keyOf, shardCount } from './builders.ts'
import { Mover, openExport, TestGroup } from './movers.ts'

/** A move of two shards with a second attempt, and the logs that both groups have of it. */
interface Script {
  readonly source: readonly Entry[]
  readonly target: readonly Entry[]
  readonly hashes: { readonly source: string; readonly target: string }
  /** Of the attempt that is ingested. */
  readonly set: FileSet | undefined
  readonly contents: ReadonlyMap<string, Uint8Array>
  /** Index of the ingest in the target's log. */
  readonly ingestAt: number
}

const id = 7
const attempt = 2

async function makeScript(): Promise<Script> {
  const [a, b] = [await TestGroup.open('a@1', 1000), await TestGroup.open('b@1', 5000)]
  a.log.birth(0, [1, 2, 3])
  const callers = [1, 2, 3].map((shard) => new Caller(1, shard))
  const writeSome = async () => {
    for (let i = 0; i < 14; i++) {
      for (const caller of callers)
        a.log.write(a.timeMs, 1, caller.next({ append: { key: keyOf(caller.shard, i % 9), value: utf8(`${i}`) } }))
    }
    await a.run()
  }
  const mover = new Mover(id, [1, 2], a, b)
  await writeSome()
  await mover.import()
  await mover.export()
  await writeSome()
  mover.attempt = attempt
  await mover.import()
  await mover.export()
  const set = await openExport(a.machine, id, attempt)
  const contents = new Map<string, Uint8Array>()
  for (const { name } of set.files) contents.set(name, await readFile(a.replica.store.fileSystem, joinPath(set.folder, name)))
  await mover.ingest(await mover.copy())
  const ingestAt = b.machine.applied
  await writeSome()
  await mover.replay()
  await writeSome()
  await mover.finish()
  b.log.write(b.timeMs, 2, new Caller(2, 1).next({ append: { key: keyOf(1, 1), value: utf8('!') } }))
  await b.run()
  const hashes = { source: (await a.machine.stateHash()).hash, target: (await b.machine.stateHash()).hash }
  return { source: a.log.entries, target: b.log.entries, hashes, set, contents, ingestAt }
}

/** As above of shards that nobody has written to before: nothing is copied. */
async function makeScriptOfNothing(): Promise<Script> {
  const [a, b] = [await TestGroup.open('a@1', 1000), await TestGroup.open('b@1', 5000)]
  a.log.birth(0, [1, 2, 3])
  b.log.mark(b.timeMs)
  const callers = [1, 2, 3].map((shard) => new Caller(1, shard))
  const writeSome = async (which: readonly Caller[]) => {
    for (let i = 0; i < 14; i++) {
      for (const caller of which)
        a.log.write(a.timeMs, 1, caller.next({ append: { key: keyOf(caller.shard, i % 9), value: utf8(`${i}`) } }))
    }
    await a.run()
  }
  const mover = new Mover(id, [1, 2], a, b)
  await writeSome(callers.slice(2))
  await mover.import()
  await mover.export()
  await writeSome(callers)
  await mover.ingest(await mover.copy())
  const ingestAt = b.machine.applied
  await mover.replay()
  await writeSome(callers)
  await mover.finish()
  for (const shard of [1, 2]) b.log.write(b.timeMs, 2, new Caller(2, shard).next({ append: { key: keyOf(shard, 1), value: utf8('!') } }))
  await b.run()
  const hashes = { source: (await a.machine.stateHash()).hash, target: (await b.machine.stateHash()).hash }
  return { source: a.log.entries, target: b.log.entries, hashes, set: undefined, contents: new Map(), ingestAt }
}

interface Life {
  machine: GroupStateMachine | undefined
  hash: string | undefined
  /** The files were held: said before the ingest was applied. */
  held: boolean
  error: unknown
}

function open(process: SimProcess): Promise<GroupStateMachine> {
  const { fileSystem, executor, clock, logger } = process
  const memory = { blockCache: new BlockCache(8192), memtableBudget: new MemtableBudget(4096) }
  return openGroupStateMachine({
    ...{ fileSystem, executor, clock, logger },
    folder: 'data/g',
    first: () => firstOf(3),
    shardCount,
    ...memory,
  })
}

/** Pulls the files, as a fetcher would: what is there of an earlier life is overwritten. */
async function pull(process: SimProcess, machine: GroupStateMachine, { set, contents }: Script): Promise<void> {
  const folder = machine.importFolder(id, attempt)
  await process.fileSystem.makeFolder(folder)
  for (const [name, bytes] of contents) {
    const path = joinPath(folder, name)
    if (await process.fileSystem.exists(path)) await process.fileSystem.unlink(path)
    const file = await process.fileSystem.open(path, 'create')
    await file.write([bytes], 0)
    await file.sync()
    await file.close()
  }
  await process.fileSystem.syncFolder(folder)
  await machine.stageImport(id, attempt, must(set, 'files'))
}

/** One life of a replica: goes on behind what is durable to the end of its log. */
async function live(process: SimProcess, script: Script, role: 'source' | 'target', life: Life, wasHeld: boolean): Promise<void> {
  const entries = script[role]
  const machine = await open(process)
  life.machine = machine
  const isPast = machine.durable.index >= script.ingestAt
  const hasFiles = script.set !== undefined
  if (role === 'target' && hasFiles && wasHeld && !isPast && machine.holdsImport(id, attempt) === undefined) {
    throw new Error('files that were held are lost')
  }
  while (machine.applied < entries.length) {
    const at = machine.applied
    if (role === 'target' && hasFiles && at + 1 === script.ingestAt) {
      if (machine.holdsImport(id, attempt) === undefined) await pull(process, machine, script)
      life.held = true
    }
    const isBeforeIngest = at + 1 < script.ingestAt && role === 'target'
    await machine.apply(entries.slice(at, Math.min(at + 5, isBeforeIngest ? script.ingestAt - 1 : entries.length)))
    if (at % 3 === 0) await machine.flush()
  }
  life.hash = (await machine.stateHash()).hash
  await machine.close()
}

/** The power fails at the k-th file operation, and once more at a later one; returns false where there was no k-th. */
async function sweepOne(script: Script, role: 'source' | 'target', k: number): Promise<boolean> {
  const world = new World({ seed: k })
  let process = new SimProcess(world, { name: 'n1', network: new SimNetwork(world), jobs: shardJobs })
  let failures = 0
  let held = false
  let durable = 0
  for (let lives = 0; lives < 4; lives++) {
    const life: Life = { machine: undefined, hash: undefined, held, error: undefined }
    const failAt = failures < 2 ? process.disk.operations + (failures === 0 ? k : 1 + ((k * 7) % 90)) : Number.POSITIVE_INFINITY
    const dying = process
    dying.disk.inject = ({ index }) => (index === failAt ? 'crash' : undefined)
    void live(dying, script, role, life, held).catch((error: unknown) => {
      life.error = error
    })
    await world.runUntil(() => !dying.alive || life.hash !== undefined || life.error !== undefined, 10_000_000)
    dying.disk.inject = undefined
    if (life.error !== undefined) throw life.error
    held ||= life.held
    expect(life.machine?.durable.index ?? durable).toBeGreaterThanOrEqual(durable)
    durable = Math.max(durable, life.machine?.durable.index ?? 0)
    if (life.hash !== undefined) {
      expect(life.hash, `power cut at operation ${k}`).toBe(script.hashes[role])
      return failures > 0
    }
    failures++
    process = dying.restart()
  }
  throw new Error('it never came to its end')
}

describe('a replica whose power fails while shards move', () => {
  it.each([
    ['source', 7, 400],
    ['target', 1, 80],
  ] as const)(
    'comes to the same state: %s, file operations in steps of %i',
    async (role, step, atLeast) => {
      const script = await makeScript()
      let k = 1
      while (await sweepOne(script, role, k)) k += step
      expect(k).toBeGreaterThan(atLeast)
    },
    120_000,
  )

  it.each([
    ['source', 3],
    ['target', 1],
  ] as const)(
    'comes to the same state where nothing is copied: %s, file operations in steps of %i',
    async (role, step) => {
      const script = await makeScriptOfNothing()
      let k = 1
      while (await sweepOne(script, role, k)) k += step
      expect(k).toBeGreaterThan(20)
    },
    120_000,
  )

  it('holds after a power loss what a start said that it holds, also where the list was named and its folder not synced', async () => {
    const script = await makeScript()
    const before = script.target.slice(0, script.ingestAt - 1)
    let met = 0
    for (let seed = 1; seed <= 12; seed++) {
      const world = new World({ seed })
      let process = new SimProcess(world, { name: 'n1', network: new SimNetwork(world), jobs: shardJobs })
      const first = await world.settle(open(process), 10_000_000)
      await world.settle(Promise.resolve(first.apply(before)), 10_000_000)
      await world.settle(first.flush(), 10_000_000)
      const { disk } = process
      const list = joinPath(first.importFolder(id, attempt), 'HELD')
      disk.inject = ({ kind }) => (kind === 'syncFolder' && disk.find(list) !== undefined ? 'EIO' : undefined)
      await expect(world.settle(pull(process, first, script), 10_000_000)).rejects.toThrow('EIO')
      disk.inject = undefined
      process.kill()
      process = process.restart()
      const said = (await world.settle(open(process), 10_000_000)).holdsImport(id, attempt)
      process.powerLoss()
      process = process.restart()
      if (said !== undefined) met++
      expect((await world.settle(open(process), 10_000_000)).holdsImport(id, attempt), `seed ${seed}`).toEqual(said)
    }
    expect(met).toBe(12)
  })

  it('opens a whole export again, and no other', async () => {
    const script = await makeScript()
    const world = new World({ seed: 5 })
    const process = new SimProcess(world, { name: 'n1', network: new SimNetwork(world), jobs: shardJobs })
    const open7 = (machine: GroupStateMachine) =>
      machine.exports.open(pb.v1.OpenFilesRequest.create({ export: { migration: id, attempt } }))
    const end = script.source.findIndex(({ data }) => data[1] === EntryCode.Release)
    const first = await world.settle(open(process), 10_000_000)
    await world.settle(Promise.resolve(first.apply(script.source.slice(0, end))), 10_000_000)
    await world.settle(first.flush(), 10_000_000)
    await world.runFor(10_000)
    const { files, description } = await open7(first)
    // Of other tables than the script's store has.
    const { files: _, ...contents } = decodeExportList(description, 'LIST')
    expect(contents).toEqual((({ files: _, ...rest }) => rest)(decodeExportList(must(script.set, 'files').description, 'LIST')))
    expect(files).not.toEqual(script.set?.files)
    process.kill()
    const next = process.restart()
    const second = await world.settle(open(next), 10_000_000)
    expect((await open7(second)).files).toEqual(files)
    await world.settle(Promise.resolve(second.apply(script.source.slice(second.applied))), 10_000_000)
    await expect(open7(second)).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await world.settle(second.close(), 10_000_000)
    expect(await world.settle(next.fileSystem.list('data/g/exports'), 10_000)).toEqual([])
  })
})
