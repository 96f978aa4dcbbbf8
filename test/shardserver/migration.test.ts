import { describe, expect, it } from 'vitest'
import { utf8, utf8Text } from '../../base/bytes.ts'
import type { Clock } from '../../base/clock.ts'
import { pb } from '../../proto/messages.ts'
import { SnapshotNeeded } from '../../raft/state-machine.ts'
import { deltaRange } from '../../shardserver/delta.ts'
import { encodeMigration, encodeRebirth } from '../../shardserver/entry.ts'
import { decodeExportList, encodeExportList } from '../../shardserver/export-list.ts'
import type { MigrationBreak } from '../../shardserver/migration-break.ts'
import { encodeKey, groupPrefix, KeyKind } from '../../shardserver/record.ts'
import { digestOfNothing } from '../../shardserver/record-digest.ts'
import { HastyClock } from '../lsm/hasty-clock.ts'
import { Caller, keyOf, openMachine, written } from './builders.ts'
import { copyExport, Mover, openExport, TestGroup } from './movers.ts'

async function textAt(group: TestGroup, shard: number, number: number): Promise<string> {
  const outcome = await group.machine.read(shard, keyOf(shard, number), 0)
  return outcome.kind === 'found' ? utf8Text(Uint8Array.from(outcome.value)) : outcome.kind === 'refused' ? outcome.state : outcome.kind
}

interface Pair {
  readonly a: TestGroup
  readonly b: TestGroup
  readonly caller: Caller
  readonly mover: Mover
  append(group: TestGroup, text: string): Promise<void>
}

/** Group a serves shards 1 and 2, each with a record under number 1; b serves none. */
async function pair(breaks: readonly MigrationBreak[] = [], shards: readonly number[] = [1], clock?: Clock): Promise<Pair> {
  const options = { breaks: new Set(breaks), ...(clock === undefined ? {} : { clock }) }
  const a = await TestGroup.open('a@1', 1000, options)
  const b = await TestGroup.open('b@1', 500_000, options)
  a.log.birth(a.timeMs, [1, 2])
  const caller = new Caller(1, 1)
  const append = async (group: TestGroup, text: string) => {
    group.log.write(group.timeMs, 1, caller.next({ append: { key: keyOf(1, 1), value: utf8(text) } }))
    await group.run()
  }
  a.log.write(a.timeMs, 2, new Caller(2, 2).next({ put: { key: keyOf(2, 1), value: utf8('two') } }))
  await append(a, 'a')
  return { a, b, caller, mover: new Mover(7, shards, a, b), append }
}

describe('a shard on its way', () => {
  it('moves with its records, sessions, revisions and epoch, and leaves nothing behind', async () => {
    const { a, b, mover, append } = await pair()
    expect(await mover.import()).toEqual({ kind: 'migrated', index: 1 })
    expect((await mover.export()).kind).toBe('migrated')
    await append(a, 'b')
    expect((await mover.ingest(await mover.copy())).kind).toBe('migrated')
    expect((await mover.replay()).kind).toBe('migrated')
    await append(a, 'c')
    await mover.release()
    expect(await textAt(a, 1, 1)).toBe('released')
    expect((await mover.activate(5)).kind).toBe('migrated')
    await append(b, 'd')
    expect(await textAt(b, 1, 1)).toBe('abcd')
    expect(b.machine.status().shards).toEqual([{ shard: 1, state: 'serving', epoch: 5, revision: 4 }])
    const size = a.replica.store.size
    await mover.outcome(a, 'done')
    expect(a.machine.shardRecord(1)).toMatchObject({ state: 'absent', newestId: 7, count: 0 })
    expect(a.replica.store.size).toBeLessThan(size)
    expect(await a.machine.shardBytes(1)).toBe(0)
    expect(await textAt(a, 2, 1)).toBe('two')
  })

  it('moves a set of shards as one', async () => {
    const { a, b, mover, append } = await pair([], [1, 2])
    await mover.begin()
    await append(a, 'b')
    expect(b.machine.migrations()).toMatchObject([{ id: 7, state: 'importing', shards: [1, 2], ingested: true }])
    expect(a.machine.migrations()).toMatchObject([{ id: 7, state: 'exporting', shards: [1, 2], cut: 4 }])
    expect(await mover.finish()).toMatchObject({ kind: 'migrated' })
    expect([await textAt(b, 1, 1), await textAt(b, 2, 1)]).toEqual(['ab', 'two'])
    expect(a.machine.migrations()).toEqual([])
  })

  it('applies a step to all shards of the set or to none', async () => {
    const { a } = await pair()
    a.log.birth(a.timeMs, [3])
    expect(await a.step({ kind: 'export', id: 7, shards: [1], attempt: 1 })).toMatchObject({ kind: 'migrated' })
    expect(await a.step({ kind: 'export', id: 7, shards: [1, 3], attempt: 1 })).toMatchObject({ kind: 'not-migrated' })
    expect([a.stateOf(1), a.stateOf(3)]).toEqual(['exporting', 'serving'])
  })

  it('answers a command again that the source has executed, before and after the cut', async () => {
    const { a, b, caller, mover } = await pair()
    const before = caller.next({ increment: { key: keyOf(1, 2), by: '1' } })
    a.log.write(a.timeMs, 1, before)
    const reply = written(await a.run())[0]
    await mover.import()
    await mover.export()
    const after = caller.next({ increment: { key: keyOf(1, 2), by: '10' } })
    a.log.write(a.timeMs, 1, { ...after, lowestOutstanding: 2 })
    const second = written(await a.run())[0]
    await mover.ingest(await mover.copy())
    await mover.finish()
    b.log.write(b.timeMs, 1, { ...before, first: false }, { ...after, first: false })
    expect(written(await b.run())).toEqual([reply, second])
    expect(await textAt(b, 1, 2)).toBe('11')
  })

  it('goes on with the time of the source, whatever the time of the target is', async () => {
    const { a, b, caller, mover } = await pair()
    a.log.write(a.timeMs, 1, caller.next({ put: { key: keyOf(1, 3), value: utf8('v'), ttlMs: 100 } }))
    a.timeMs += 90
    await mover.begin()
    b.timeMs += 10_000
    await mover.finish()
    expect(await textAt(b, 1, 3)).toBe('v')
    b.log.mark(b.timeMs + 9)
    await b.run()
    expect(await textAt(b, 1, 3)).toBe('v')
    b.log.mark(b.timeMs + 10)
    await b.run()
    expect(await textAt(b, 1, 3)).toBe('absent')
  })

  it('replays a command at the time at which the source executed it', async () => {
    const { a, b, caller, mover } = await pair()
    a.log.write(a.timeMs, 1, caller.next({ put: { key: keyOf(1, 3), value: utf8('v'), ttlMs: 100 } }))
    await mover.begin()
    a.timeMs += 60
    a.log.write(a.timeMs, 1, caller.next({ append: { key: keyOf(1, 3), value: utf8('w') } }))
    a.timeMs += 60
    a.log.write(a.timeMs, 1, caller.next({ append: { key: keyOf(1, 3), value: utf8('x') } }))
    await a.run()
    await mover.finish()
    expect(await textAt(b, 1, 3)).toBe('x')
  })

  it('keeps time marks in the delta', async () => {
    const { a, mover } = await pair()
    await mover.begin()
    a.log.mark(a.timeMs + 5)
    await a.run()
    const { shards } = await mover.delta()
    expect(shards[0]?.records?.map(({ timeMs, writes }) => [timeMs, writes?.length])).toEqual([[a.timeMs + 5, 0]])
  })

  it('gives the delta in pieces that fit, each with count and checksum', async () => {
    const { a, b, mover, append } = await pair([], [1, 2])
    await mover.begin()
    const other = new Caller(3, 2)
    for (let i = 0; i < 20; i++) {
      await append(a, `${i % 10}`)
      a.log.write(a.timeMs, 3, other.next({ put: { key: keyOf(2, i), value: utf8('z') } }))
      await a.run()
    }
    let rounds = 0
    while ((await mover.delta()).lag > 0 || mover.cursor < a.machine.applied) {
      expect(await mover.replay(300)).toMatchObject({ kind: 'migrated' })
      expect(rounds++).toBeLessThan(50)
    }
    expect(rounds).toBeGreaterThan(5)
    expect(await mover.finish()).toMatchObject({ kind: 'migrated' })
    expect(await textAt(b, 1, 1)).toBe('a01234567890123456789')
    expect(await textAt(b, 2, 19)).toBe('z')
  })

  it('refuses a delta before its cut, behind what is applied, or of another migration', async () => {
    const { a, mover } = await pair()
    const wanted = { id: 7, shards: [1], after: 4, maxBytes: 1000 }
    expect(await a.machine.delta(wanted)).toMatchObject({ kind: 'refused' })
    await mover.begin()
    expect(await a.machine.delta({ ...wanted, after: 3 })).toMatchObject({ kind: 'refused' })
    expect(await a.machine.delta({ ...wanted, after: 5 })).toMatchObject({ kind: 'refused' })
    expect(await a.machine.delta({ ...wanted, id: 6 })).toMatchObject({ kind: 'refused' })
    expect(await a.machine.delta(wanted)).toMatchObject({ kind: 'delta', upTo: 4, lag: 0, releasedAt: 0 })
  })

  it('takes no replay twice, and none that is not the source’s', async () => {
    const { a, b, mover, append } = await pair()
    await mover.begin()
    await append(a, 'b')
    const { upTo, shards } = await mover.delta()
    const replay = { kind: 'replay', ...mover.names, after: mover.cursor, upTo, deltas: shards } as const
    const damaged = shards.map((delta) => ({ ...delta, records: delta.records?.map((record) => ({ ...record, timeMs: 1 })) ?? [] }))
    expect(await b.step({ ...replay, deltas: damaged })).toMatchObject({ kind: 'not-migrated' })
    expect(await b.step(replay)).toMatchObject({ kind: 'migrated' })
    expect(await b.step(replay)).toMatchObject({ kind: 'not-migrated' })
    await mover.finish()
    expect(await textAt(b, 1, 1)).toBe('ab')
  })

  it.each<[string, (delta: pb.v1.ShardDelta.$Properties) => pb.v1.ShardDelta.$Properties]>([
    ['count', (delta) => ({ ...delta, count: (delta.count ?? 0) + 1 })],
    ['checksum', (delta) => ({ ...delta, checksum: 1 })],
    ['revision', (delta) => ({ ...delta, revision: 99 })],
    ['time', (delta) => ({ ...delta, timeMs: 1 })],
  ])('refuses for good where the %s is not the source’s, and gives back', async (_what, change) => {
    const { a, b, mover, append } = await pair()
    await mover.begin()
    await append(a, 'b')
    await mover.release()
    const { upTo, shards } = await mover.delta()
    const activate = { kind: 'activate', ...mover.names, after: mover.cursor, upTo, epochs: [2] } as const
    expect(await b.step({ ...activate, deltas: shards.map(change) })).toMatchObject({ kind: 'migrated' })
    expect(b.stateOf(1)).toBe('refused')
    expect(await b.step({ ...activate, deltas: shards })).toMatchObject({ kind: 'not-migrated' })
    await mover.outcome(b, 'given-back', 3)
    await mover.outcome(a, 'given-back', 3)
    await append(a, 'c')
    expect([a.stateOf(1), b.stateOf(1), await textAt(a, 1, 1)]).toEqual(['serving', 'absent', 'abc'])
    expect(a.machine.shardRecord(1)).toMatchObject({ epoch: 3, newestId: 7 })
    expect(await b.machine.shardBytes(1)).toBe(0)
  })

  it('is aborted at any step before the commit: the source serves, the target keeps nothing', async () => {
    for (const upTo of [1, 2, 3, 4]) {
      const { a, b, mover, append } = await pair()
      const steps = [() => mover.import(), () => mover.export(), async () => mover.ingest(await mover.copy()), () => mover.replay()]
      for (const step of steps.slice(0, upTo)) {
        await step()
        await append(a, 'b')
      }
      await mover.outcome(a, 'aborted')
      expect(await mover.outcome(b, 'aborted')).toMatchObject({ kind: 'migrated' })
      await append(a, 'z')
      expect([a.stateOf(1), b.stateOf(1)]).toEqual(['serving', 'absent'])
      expect(await textAt(a, 1, 1)).toBe(`a${'b'.repeat(upTo)}z`)
      expect(await b.machine.shardBytes(1)).toBe(0)
      if (upTo > 1) await expect(openExport(a.machine, 7, 1)).rejects.toMatchObject({ code: 'NOT_FOUND' })
    }
  })

  it('has who asks for a cut that is on its way wait until it is there', async () => {
    const { a, mover } = await pair()
    const asked = a.machine.exports.open(new pb.v1.OpenFilesRequest({ export: { migration: 7, attempt: 1 } }))
    await mover.import()
    await mover.export()
    expect((await asked).files.length).toBeGreaterThan(0)
  })

  it('says of a cut that its log has not come to that it is to be asked for again, not that it is lost', async () => {
    const { a, mover } = await pair([], [1], new HastyClock())
    const ask = (attempt: number) => a.machine.exports.open(new pb.v1.OpenFilesRequest({ export: { migration: 7, attempt } }))
    await expect(ask(1)).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    await mover.import()
    await mover.export()
    await openExport(a.machine, 7, 1)
    await expect(ask(2)).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    await mover.outcome(a, 'aborted')
    await expect(ask(1)).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  it('gives all who ask for a cut one set of files, so that they hold one place on their server', async () => {
    const { a, mover } = await pair()
    await mover.import()
    await mover.export()
    const set = await openExport(a.machine, 7, 1)
    expect(await openExport(a.machine, 7, 1)).toBe(set)
  })

  for (const end of ['done', 'aborted', 'cut again'] as const) {
    it(`says of a set of files that it is over when its migration is ${end}, and not before: its place on a server is free`, async () => {
      const { a, mover } = await pair()
      await mover.import()
      await mover.export()
      const set = await openExport(a.machine, 7, 1)
      const isOver = () => a.machine.exports.isOver?.(set)
      const held = await mover.copy()
      await mover.ingest(held)
      expect(isOver()).toBe(false)
      if (end === 'aborted') await mover.outcome(a, 'aborted')
      else if (end === 'cut again') {
        mover.attempt = 2
        await mover.export()
      } else {
        await mover.release()
        expect(isOver()).toBe(false)
        await mover.activate()
        await mover.outcome(a, 'done')
      }
      expect(isOver()).toBe(true)
    })
  }

  it('takes a second attempt, whose delta begins anew', async () => {
    const { a, b, mover, append } = await pair()
    await mover.import()
    await mover.export()
    await append(a, 'b')
    const old = await mover.copy()
    mover.attempt = 2
    await mover.import()
    await mover.export()
    await append(a, 'c')
    expect(a.machine.shardRecord(1)).toMatchObject({ attempt: 2, count: 1 })
    // The delta of the first attempt is gone from the store with the second cut.
    const kept = a.replica.store.iterate(deltaRange(1))
    let deltas = 0
    while (await kept.next()) deltas++
    kept.close()
    expect(deltas).toBe(1)
    await expect(openExport(a.machine, 7, 1)).rejects.toMatchObject({ code: 'NOT_FOUND' })
    expect(b.machine.holdsImport(7, 1)).toBeUndefined()
    expect(await b.step({ kind: 'ingest', ...mover.names, attempt: 1, cut: old.cut, digest: old.digest })).toMatchObject({
      kind: 'not-migrated',
    })
    await mover.ingest(await mover.copy())
    await mover.finish()
    await append(b, 'd')
    expect(await textAt(b, 1, 1)).toBe('abcd')
  })

  it('takes no replay of an older attempt, though it begins as many commands behind its cut', async () => {
    const { a, b, mover, append } = await pair()
    await mover.import()
    await mover.export()
    const { cut } = a.machine.shardRecord(1)
    await append(a, 'b')
    const { upTo, shards } = await mover.delta(cut)
    mover.attempt = 2
    await mover.import()
    await mover.export()
    await mover.ingest(await mover.copy())
    expect(await b.step({ kind: 'replay', ...mover.names, after: cut, upTo, deltas: shards })).toMatchObject({ kind: 'not-migrated' })
    await append(a, 'c')
    await mover.finish()
    expect(await textAt(b, 1, 1)).toBe('abc')
  })

  it('comes back, under a newer id, and keeps out what is older', async () => {
    const { a, b, mover, append } = await pair()
    await mover.begin()
    await mover.finish(2)
    await append(b, 'b')
    const back = new Mover(8, [1], b, a)
    await back.begin()
    expect(await back.finish(3)).toMatchObject({ kind: 'migrated' })
    await append(a, 'c')
    expect(await textAt(a, 1, 1)).toBe('abc')
    expect(await mover.outcome(a, 'done')).toMatchObject({ kind: 'not-migrated' })
    expect(await mover.export()).toMatchObject({ kind: 'not-migrated' })
    expect(await a.step({ kind: 'import', id: 8, shards: [1], attempt: 1, from: 'b@1' })).toMatchObject({ kind: 'not-migrated' })
    expect(a.machine.shardRecord(1)).toMatchObject({ state: 'serving', newestId: 8, epoch: 3 })
  })

  it('is born above epoch 1 by order only, once for each epoch', async () => {
    const { a, b, mover } = await pair()
    await mover.begin()
    await mover.finish(2)
    const rebirth = (group: TestGroup, epoch: number) => {
      group.log.add(encodeRebirth(group.timeMs, 1, epoch))
      return group.run()
    }
    expect(await rebirth(b, 9)).toMatchObject({ kind: 'not-migrated' })
    expect(await rebirth(a, 1)).toMatchObject({ kind: 'not-migrated' })
    expect(await rebirth(a, 3)).toMatchObject({ kind: 'migrated' })
    expect([a.stateOf(1), await textAt(a, 1, 1)]).toEqual(['serving', 'absent'])
    expect(a.machine.status().shards[0]).toMatchObject({ epoch: 3, revision: 0 })
    expect(await rebirth(a, 3)).toMatchObject({ kind: 'not-migrated' })
  })

  it('needs a snapshot where the files are missing, and nothing of the entry happened', async () => {
    const { b, mover } = await pair()
    await mover.import()
    await mover.export()
    const { cut } = await mover.copy()
    const lost = { kind: 'ingest', ...mover.names, attempt: 1, cut, digest: new Uint8Array(16).fill(1) } as const
    b.log.mark(b.timeMs)
    await expect(b.step(lost)).rejects.toThrow(SnapshotNeeded)
    expect(b.machine.applied).toBe(2)
    expect(b.machine.shardRecord(1)).toMatchObject({ state: 'importing', ingested: false })
    expect(b.machine.holdsImport(7, 1)).toMatchObject({ cut })
  })

  it('does not hold files that are damaged, of another migration, or of some of its shards only', async () => {
    const { a, b, mover } = await pair()
    await mover.import()
    await mover.export()
    const set = await openExport(a.machine, 7, 1)
    await expect(b.machine.stageImport(8, 1, set)).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' })
    const list = decodeExportList(set.description, 'LIST')
    const description = encodeExportList({ ...list, shards: list.shards.slice(1) })
    await expect(b.machine.stageImport(7, 1, { ...set, description })).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' })
    await expect(b.machine.stageImport(7, 1, { ...set, files: [] })).rejects.toThrow('files')
    await expect(b.machine.stageImport(7, 1, { ...set, description: set.description.slice(1) })).rejects.toThrow('list')
    expect(b.machine.holdsImport(7, 1)).toBeUndefined()
  })

  it('is over while files come in: what came since goes once nobody brings any more, and not before', async () => {
    const { a, b, mover } = await pair()
    const { fileSystem } = b.replica.store
    await mover.import()
    await mover.export()
    const set = await openExport(a.machine, 7, 1)
    const folder = b.machine.importFolder(7, 1)
    const bringOne = async () => {
      await fileSystem.makeFolder(folder)
      await (await fileSystem.open(`${folder}/000001.sst.part`, 'create')).close()
    }
    await b.machine.bringImport(7, 1, bringOne)
    await b.machine.flush()
    expect(await fileSystem.list(folder)).toEqual(['000001.sst.part'])
    const gone = async () => {
      for (let turn = 0; turn < 1000 && (await fileSystem.exists(folder)); turn++) await new Promise((resolve) => setImmediate(resolve))
      expect(await fileSystem.list('g/imports')).toEqual([])
    }
    await mover.outcome(b, 'aborted')
    await b.machine.flush()
    await gone()
    await b.machine.bringImport(7, 1, async () => {
      // Who pulls them has not heard of it yet.
      await bringOne()
      await expect(b.machine.stageImport(7, 1, set)).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' })
      expect(await fileSystem.list(folder)).toEqual(['000001.sst.part'])
    })
    await gone()
  })

  // Simulator, seed 3008: the folder of a removed replica was deleted, and the fetch that had not heard of it made it again.
  it('closes only when nobody puts files into its folder any more, and tells who does', async () => {
    const { b, mover } = await pair()
    await mover.import()
    let end = () => {}
    const maybeEnd = new Promise<void>((resolve) => {
      end = resolve
    })
    const events: string[] = []
    const bringing = b.machine.bringImport(7, 1, async (signal) => {
      signal.addEventListener('abort', () => events.push('told'))
      await maybeEnd
      events.push('left')
    })
    const closing = b.machine.close().then(() => events.push('closed'))
    for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve))
    expect(events).toEqual(['told'])
    end()
    await Promise.all([bringing, closing])
    expect(events).toEqual(['told', 'left', 'closed'])
    await expect(b.machine.bringImport(7, 1, () => Promise.resolve())).rejects.toMatchObject({ code: 'UNAVAILABLE' })
  })

  it('does not hold files whose records are not those of the cut, though each file is what its list says', async () => {
    const { a, b, mover } = await pair()
    await mover.import()
    await mover.export()
    await mover.copy()
    const [set, again] = [await openExport(a.machine, 7, 1), await TestGroup.open('c@1')]
    await again.step({ kind: 'import', ...mover.names, attempt: 1, from: a.name })
    const list = decodeExportList(set.description, 'LIST')
    const description = encodeExportList({ ...list, digest: new Uint8Array(list.digest.length) })
    await expect(copyExport(a.replica, again.replica, 7, 1, { ...set, description })).rejects.toThrow('the records are not those')
    expect(again.machine.holdsImport(7, 1)).toBeUndefined()
    expect(b.machine.holdsImport(7, 1)).toBeDefined()
  })

  it('refuses what was proposed before its release and lies behind it in the log', async () => {
    const { a, b, caller, mover, append } = await pair()
    await mover.begin()
    await append(a, 'b')
    await mover.release()
    a.log.write(a.timeMs, 1, caller.next({ append: { key: keyOf(1, 1), value: utf8('late') } }))
    expect(written(await a.run())).toMatchObject([{ error: { code: pb.v1.ErrorCode.WRONG_GROUP } }])
    expect(await mover.activate()).toMatchObject({ kind: 'migrated' })
    expect(await textAt(b, 1, 1)).toBe('ab')
  })

  it('is cut into runs of several files, of which the newest counts', async () => {
    const a = await TestGroup.open('a@1')
    const b = await TestGroup.open('b@1')
    a.replica.store.exportTableBytes = 200
    a.log.birth(0, [1, 2])
    const callers = [new Caller(1, 1), new Caller(1, 2)] as const
    for (let i = 0; i < 40; i++) {
      for (const caller of callers) a.log.write(0, 1, caller.next({ put: { key: keyOf(caller.shard, i), value: utf8(`v${i}`) } }))
    }
    await a.run()
    const mover = new Mover(3, [1, 2], a, b)
    await mover.begin()
    expect((await openExport(a.machine, 3, 1)).files.length).toBeGreaterThan(5)
    await mover.finish()
    for (let i = 0; i < 40; i++) expect([await textAt(b, 1, i), await textAt(b, 2, i)]).toEqual([`v${i}`, `v${i}`])
  })

  it('goes on after a restart of either group between any two steps', async () => {
    const { a, b, mover, append } = await pair()
    const both = async () => {
      for (const group of [a, b]) {
        await group.machine.flush()
        await group.restart()
      }
    }
    await mover.import()
    await both()
    await mover.export()
    await openExport(a.machine, 7, 1)
    await both()
    await append(a, 'b')
    const held = await mover.copy()
    await both()
    expect(b.machine.holdsImport(7, 1)).toEqual(held)
    await mover.ingest(held)
    await both()
    await mover.replay()
    await append(a, 'c')
    await both()
    await mover.release()
    await both()
    await mover.activate(2)
    await both()
    await mover.outcome(a, 'done')
    await both()
    await append(b, 'd')
    expect([await textAt(b, 1, 1), a.stateOf(1)]).toEqual(['abcd', 'absent'])
    expect(await b.replica.store.fileSystem.list('g/imports')).toEqual([])
    expect(await a.replica.store.fileSystem.list('g/exports')).toEqual([])
  })

  it('keeps a copy that was begun over a restart, though nothing of the import was durable', async () => {
    const { b, mover } = await pair()
    await mover.import()
    const part = `${b.machine.importFolder(7, 1)}/000001.sst.part`
    const { fileSystem } = b.replica.store
    await fileSystem.makeFolder(b.machine.importFolder(7, 1))
    await (await fileSystem.open(part, 'create')).close()
    expect(b.machine.durable.index).toBeLessThan(b.machine.applied)
    await b.restart()
    expect([b.stateOf(1), await b.replica.store.fileSystem.exists(part)]).toEqual(['importing', true])
    // What an outcome has ended goes, also where a restart lies between.
    await mover.outcome(b, 'aborted')
    await b.machine.flush()
    await b.restart()
    expect(await b.replica.store.fileSystem.list('g/imports')).toEqual([])
  })

  it('tells of each change of a record, and reports those under way', async () => {
    const { a, mover, append } = await pair()
    let told = 0
    a.machine.onMigration = () => {
      told++
    }
    await append(a, 'b')
    expect(told).toBe(0)
    await mover.begin()
    expect([told, a.machine.migrations()]).toMatchObject([1, [{ id: 7, attempt: 1, state: 'exporting', shards: [1] }]])
    await mover.release()
    expect([told, a.machine.migrations()]).toMatchObject([2, [{ state: 'released', releasedAt: a.machine.applied }]])
  })

  it('comes to the same state on a replica that replays the log', async () => {
    const { a, b, mover, append } = await pair()
    await mover.begin()
    await append(a, 'b')
    await mover.replay()
    await append(a, 'c')
    await mover.release()
    await mover.activate()
    const other = await openMachine()
    await other.machine.apply(b.log.entries.slice(0, 1))
    await mover.copy(other)
    await other.machine.apply(b.log.entries.slice(1))
    expect(await other.machine.stateHash()).toEqual(await b.machine.stateHash())
    const source = await openMachine()
    await source.machine.apply(a.log.entries)
    expect(await source.machine.stateHash()).toEqual(await a.machine.stateHash())
  })
})

describe('a deliberate break', () => {
  it('replay-without-cursor: a replay that comes twice is executed twice', async () => {
    const { a, b, mover } = await pair(['replay-without-cursor'])
    await mover.begin()
    a.log.mark(a.timeMs + 1)
    await a.run()
    const { upTo, shards } = await mover.delta()
    const replay = encodeMigration(b.timeMs, { kind: 'replay', ...mover.names, after: mover.cursor, upTo, deltas: shards })
    b.log.add(replay)
    b.log.add(replay)
    const results = await b.machine.apply(b.log.entries.slice(b.machine.applied))
    expect(results.map(({ kind }) => kind)).toEqual(['migrated', 'migrated'])
    expect(mover.cursor).toBe(upTo + 1)
  })

  it('sessions-left-behind: a command is executed again in the target', async () => {
    const { a, b, caller, mover } = await pair(['sessions-left-behind'])
    const command = { ...caller.next({ append: { key: keyOf(1, 2), value: utf8('x') } }), first: true }
    a.log.write(a.timeMs, 1, command)
    await a.run()
    await mover.begin()
    await mover.finish()
    b.log.write(b.timeMs, 1, command)
    await b.run()
    expect(await textAt(b, 1, 2)).toBe('xx')
  })

  it('late-excise: an old outcome takes away a shard that came back', async () => {
    const { a, b, mover } = await pair(['late-excise'])
    await mover.begin()
    await mover.finish()
    const back = new Mover(8, [1], b, a)
    await back.begin()
    await back.finish(3)
    expect(a.stateOf(1)).toBe('serving')
    await mover.outcome(a, 'done')
    expect(a.stateOf(1)).toBe('absent')
  })

  it('fence-forgotten: a late import of an ended migration is obeyed', async () => {
    const { b, mover } = await pair(['fence-forgotten'])
    await mover.begin()
    await mover.outcome(b, 'aborted')
    expect(await mover.import()).toMatchObject({ kind: 'migrated' })
  })

  it('released-reads: a released shard is read', async () => {
    const { a, mover } = await pair(['released-reads'])
    await mover.begin()
    await mover.release()
    expect(await textAt(a, 1, 1)).toBe('a')
  })

  it('delta-misses-refusals: a stored refusal is not known in the target', async () => {
    for (const breaks of [[], ['delta-misses-refusals']] as const) {
      const { a, b, caller, mover } = await pair(breaks)
      await mover.begin()
      const command = caller.next({ batch: { checks: [{ key: keyOf(1, 1), revision: 77 }], writes: [] } })
      a.log.write(a.timeMs, 1, command)
      expect(written(await a.run())[0]?.error?.code).toBe(pb.v1.ErrorCode.CONDITION_FAILED)
      await mover.finish()
      b.log.write(b.timeMs, 1, { ...command, batch: { checks: [], writes: [{ put: { key: keyOf(1, 5), value: utf8('x') } }] } })
      await b.run()
      expect(await textAt(b, 1, 5)).toBe(breaks.length === 0 ? 'absent' : 'x')
    }
  })
})

describe('shards that were never written to', () => {
  /** Group a serves shards 3 and 4, which nobody has written to, at another time than that of b. */
  async function emptyPair(aTimeMs = 1000) {
    const a = await TestGroup.open('a@1', aTimeMs)
    const b = await TestGroup.open('b@1', 500_000)
    a.log.birth(0, [3, 4])
    await a.run()
    const caller = new Caller(1, 3)
    const append = async (group: TestGroup, text: string) => {
      group.log.write(group.timeMs, 1, caller.next({ append: { key: keyOf(3, 1), value: utf8(text) } }))
      return written(await group.run())
    }
    return { a, b, caller, append, mover: new Mover(7, [3, 4], a, b) }
  }

  const nothing = (mover: Mover) => mover.ingest({ cut: mover.source.machine.shardRecord(3).cut, digest: digestOfNothing, bytes: 0 })

  it('move without a file, and what is written on their way comes along', async () => {
    const { a, b, mover, append } = await emptyPair()
    const seals = [a.replica.store.seals, b.replica.store.seals]
    await mover.import()
    await mover.export()
    expect(a.machine.migrations()).toMatchObject([{ id: 7, state: 'exporting', digest: digestOfNothing }])
    await append(a, 'a')
    expect(await nothing(mover)).toMatchObject({ kind: 'migrated' })
    expect(b.machine.migrations()).toMatchObject([{ id: 7, ingested: true, cursor: 2, digest: digestOfNothing }])
    await append(a, 'b')
    expect(await mover.replay()).toMatchObject({ kind: 'migrated' })
    expect([a.replica.store.seals, b.replica.store.seals]).toEqual(seals)
    expect(await mover.finish(5)).toMatchObject({ kind: 'migrated' })
    // Shard 3 has a delta, and its range is emptied.
    expect(a.replica.store.seals).toBe((seals[0] ?? 0) + 1)
    expect(await textAt(b, 3, 1)).toBe('ab')
    await append(b, 'c')
    expect(b.machine.status().shards).toMatchObject([
      { shard: 3, state: 'serving', epoch: 5, revision: 3 },
      { shard: 4, state: 'serving', epoch: 5, revision: 0 },
    ])
    for (const { machine, replica } of [a, b]) {
      for (const folder of [machine.importFolder(7, 1), 'g/exports/7.1']) expect(await replica.store.fileSystem.exists(folder)).toBe(false)
    }
  })

  it('leave nothing in the store, without its being cut up range by range, whether they move or stay', async () => {
    const { a, b, mover } = await emptyPair()
    for (const group of [a, b]) await group.machine.flush()
    const shardKeys = async (group: TestGroup) => {
      const iterator = group.replica.store.iterate({ upper: encodeKey(groupPrefix, KeyKind.ShardState) })
      let keys = 0
      while (await iterator.next()) keys++
      iterator.close()
      return keys
    }
    expect(await shardKeys(a)).toBe(2)
    await mover.import()
    await b.machine.flush()
    await mover.export()
    await nothing(mover)
    const seals = [a.replica.store.seals, b.replica.store.seals]
    await mover.outcome(a, 'aborted')
    await mover.outcome(b, 'aborted')
    expect([a.stateOf(3), b.stateOf(3), await shardKeys(a), await shardKeys(b)]).toEqual(['serving', 'absent', 2, 0])
    const again = new Mover(8, [3, 4], a, b)
    await again.import()
    await again.export()
    await nothing(again)
    await again.finish()
    expect([a.stateOf(3), b.stateOf(3), await shardKeys(a)]).toEqual(['absent', 'serving', 0])
    expect([a.replica.store.seals, b.replica.store.seals]).toEqual(seals)
    for (const group of [a, b]) {
      await group.machine.flush()
      await group.restart()
    }
    expect([await shardKeys(a), await shardKeys(b)]).toEqual([0, 2])
  })

  it('come to the same state where a replica falls behind at any step and applies it again', async () => {
    const hashes = new Set<string>()
    for (const at of ['never', 'import', 'export', 'ingest', 'replay', 'end']) {
      const { a, b, mover, append } = await emptyPair()
      const maybeRestart = async (step: string) => {
        if (step === at) for (const group of [a, b]) await group.restart()
      }
      await mover.import()
      await maybeRestart('import')
      await mover.export()
      await maybeRestart('export')
      await append(a, 'a')
      await nothing(mover)
      await maybeRestart('ingest')
      await mover.replay()
      await maybeRestart('replay')
      await append(a, 'b')
      await mover.finish()
      await maybeRestart('end')
      hashes.add(`${(await a.machine.stateHash()).hash} ${(await b.machine.stateHash()).hash}`)
    }
    expect(hashes.size).toBe(1)
  })

  it('tell so after a seal and a restart too, and have no files to ask for', async () => {
    const { a, mover } = await emptyPair()
    await mover.import()
    await mover.export()
    await a.machine.flush()
    await a.restart()
    expect(a.machine.migrations()).toMatchObject([{ digest: digestOfNothing, cut: 2 }])
    const asked = a.machine.exports.open(new pb.v1.OpenFilesRequest({ export: { migration: 7, attempt: 1 } }))
    await expect(asked).rejects.toMatchObject({ code: 'UNAVAILABLE', details: { waitMs: 1000 } })
  })

  it('go on with the time of the source, whatever the time of the target is', async () => {
    const { a, b, caller, mover } = await emptyPair()
    await mover.import()
    await mover.export()
    await nothing(mover)
    a.log.write(a.timeMs, 1, caller.next({ put: { key: keyOf(3, 1), value: utf8('v'), ttlMs: 100 } }))
    a.timeMs += 90
    await a.run()
    b.timeMs += 10_000
    await mover.finish()
    expect(await textAt(b, 3, 1)).toBe('v')
    b.log.mark(b.timeMs + 10)
    await b.run()
    expect(await textAt(b, 3, 1)).toBe('absent')
  })

  it('are cut as files again once one of them holds something, and the attempt without files is refused from then on', async () => {
    const { a, b, mover, append } = await emptyPair()
    await mover.import()
    await mover.export()
    await append(a, 'a')
    mover.attempt = 2
    await mover.import()
    await mover.export()
    expect(a.machine.shardRecord(3)).toMatchObject({ attempt: 2, count: 0, digest: new Uint8Array(0) })
    expect(await b.step({ kind: 'ingest', ...mover.names, attempt: 1, cut: 2, digest: digestOfNothing })).toMatchObject({
      kind: 'not-migrated',
    })
    expect(await mover.ingest(await mover.copy())).toMatchObject({ kind: 'migrated' })
    await mover.finish()
    expect(await textAt(b, 3, 1)).toBe('a')
  })

  it('are none any more where only refusals came: their sessions move', async () => {
    for (const [first, aTimeMs] of [
      [true, 1000],
      [false, 700_000],
    ] as const) {
      const { a, mover } = await emptyPair(aTimeMs)
      const command = { ...new Caller(9, 3).next({ compareAndSet: { key: keyOf(3, 1), expectRevision: 9, value: utf8('v') } }), first }
      a.log.write(a.timeMs, 9, command)
      expect(written(await a.run())[0]?.revision ?? 0).toBe(0)
      expect(a.machine.status().shards[0]).toMatchObject({ shard: 3, revision: 0 })
      await mover.import()
      await mover.export()
      expect(a.machine.migrations()).toMatchObject([{ digest: new Uint8Array(0) }])
      expect((await mover.copy()).bytes).toBeGreaterThan(0)
    }
  })

  it('take nothing along of what the target knew of them before: there and back, and there again', async () => {
    const { a, b, mover, append } = await emptyPair()
    await mover.import()
    await mover.export()
    await nothing(mover)
    await mover.finish()
    await append(b, 'b')
    const back = new Mover(8, [3, 4], b, a)
    await back.begin()
    await back.finish(3)
    expect(await textAt(a, 3, 1)).toBe('b')
    expect(await append(a, 'a')).toMatchObject([{ revision: 2 }])
  })
})
