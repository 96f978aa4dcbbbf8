import { expect, it } from 'vitest'
import type { CountingExecutor } from '../../base/executor.ts'
import { InlineExecutor } from '../../base/inline-executor.ts'
import { compactionJobName } from '../../lsm/index.ts'
import { decodeExportList, encodeExportList } from '../../shardserver/export-list.ts'
import { digestJobName, shardJobs } from '../../shardserver/jobs.ts'
import { Caller, keyOf, TestClock } from './builders.ts'
import { MemoryStore } from './memory-store.ts'
import { copyExport, Mover, openExport, TestGroup } from './movers.ts'

/** Digests wait until they are let go, and each lane has done something. */
class HeldDigests implements CountingExecutor {
  readonly #inner: InlineExecutor
  #release = () => {}

  constructor(inner: InlineExecutor) {
    this.#inner = inner
  }

  async run<Input, Output>(name: string, input: Input): Promise<Output> {
    if (name === digestJobName) {
      await new Promise<void>((resolve) => {
        this.#release = resolve
      })
    }
    return await this.#inner.run<Input, Output>(name, input)
  }

  release(): void {
    this.#release()
  }

  doneFor(name: string): number {
    return name === digestJobName ? 7 : name === compactionJobName ? 30 : 1000
  }

  close(): Promise<void> {
    return this.#inner.close()
  }
}

async function held(name: string) {
  const store = new MemoryStore()
  const executor = new HeldDigests(new InlineExecutor(shardJobs, { fileSystem: store.fileSystem, clock: new TestClock() }))
  return { executor, group: await TestGroup.open(name, 0, { executor }, store) }
}

const turns = async () => {
  for (let turn = 0; turn < 100; turn++) await new Promise((resolve) => setImmediate(resolve))
}

it('work on the files of a migration is told of while they are made, and while they are verified for the first time', async () => {
  const [{ group: a, executor: making }, { group: b, executor: verifying }] = [await held('a@1'), await held('b@1')]
  a.log.birth(0, [1])
  a.log.write(0, 1, new Caller(1, 1).next({ put: { key: keyOf(1, 1), value: new Uint8Array(9) } }))
  await a.run()
  const mover = new Mover(7, [1], a, b)
  await mover.import()
  expect(a.machine.workOn(7, 1)).toBe(0)
  await mover.export()
  await turns()
  expect([a.machine.workOn(7, 1), a.machine.workOn(7, 2), a.machine.workOn(8, 1), b.machine.workOn(7, 1)]).toEqual([37, 0, 0, 0])
  making.release()
  const set = await openExport(a.machine, 7, 1)
  expect(a.machine.workOn(7, 1)).toBe(0)
  const list = decodeExportList(set.description, 'LIST')
  const damaged = { ...set, description: encodeExportList({ ...list, digest: new Uint8Array(16).fill(1) }) }
  const told: number[] = []
  const verify = async (staged: Promise<unknown>) => {
    await turns()
    told.push(b.machine.workOn(7, 1))
    verifying.release()
    await staged
    told.push(b.machine.workOn(7, 1))
  }
  await verify(expect(copyExport(a.replica, b.replica, 7, 1, damaged)).rejects.toThrow('the records are not those'))
  await verify(expect(b.machine.stageImport(7, 1, damaged)).rejects.toThrow('the records are not those'))
  await verify(b.machine.stageImport(7, 1, set))
  // What came damaged is verified as often as it comes.
  expect(told).toEqual([7, 0, 0, 0, 0, 0])
})

it('files that this process has read for their digest are held without being read again', async () => {
  const [{ group: a, executor: making }, { group: b }] = [await held('a@1'), await held('b@1')]
  a.log.birth(0, [1])
  a.log.write(0, 1, new Caller(1, 1).next({ put: { key: keyOf(1, 1), value: new Uint8Array(9) } }))
  await a.run()
  const mover = new Mover(7, [1], a, b)
  await mover.import()
  await mover.export()
  await turns()
  making.release()
  const set = await openExport(a.machine, 7, 1)
  // The target's digests are never let go.
  const { digest } = await copyExport(a.replica, b.replica, 7, 1, { ...set, isVerified: true })
  expect(digest).toEqual(decodeExportList(set.description, 'LIST').digest)
  expect(b.machine.holdsImport(7, 1)?.digest).toEqual(digest)
})

it('an export that an earlier life of the process has left counts as not read', async () => {
  const a = await TestGroup.open('a@1')
  const b = await TestGroup.open('b@1')
  a.log.birth(0, [1])
  a.log.write(0, 1, new Caller(1, 1).next({ put: { key: keyOf(1, 1), value: new Uint8Array(9) } }))
  await a.run()
  const mover = new Mover(7, [1], a, b)
  await mover.import()
  await mover.export()
  expect((await openExport(a.machine, 7, 1)).readHere).toBe(true)
  await a.machine.flush()
  await a.restart()
  expect((await openExport(a.machine, 7, 1)).readHere).toBe(false)
})
