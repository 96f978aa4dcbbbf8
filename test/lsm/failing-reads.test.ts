import { afterEach, beforeEach, expect, it } from 'vitest'
import { utf8 } from '../../base/bytes.ts'
import type { MaybePromise } from '../../base/maybe-promise.ts'
import type { Database } from '../../lsm/index.ts'
import { WriteBatch } from '../../lsm/index.ts'
import { Merge, Source } from '../../lsm/source.ts'
import { environmentOf, openDatabase, simulate } from './environment.ts'

const unhandled: unknown[] = []
const note = (reason: unknown) => unhandled.push(reason)

beforeEach(() => {
  unhandled.length = 0
  process.on('unhandledRejection', note)
})

afterEach(async () => {
  // Node tells of unhandled rejections when the microtasks of a turn are done.
  await new Promise((resolve) => setImmediate(resolve))
  process.off('unhandledRejection', note)
  expect(unhandled).toEqual([])
})

/** Records that lie in tables of several blocks, none of them cached; from now on every read of a table fails. */
async function databaseWithoutReads() {
  const { world, process: machine, disk } = simulate(3)
  const database: Database = await world.settle(openDatabase(environmentOf(machine), { level0CompactionTrigger: 100 }))
  for (const round of [1, 2]) {
    const batch = new WriteBatch()
    for (let i = 0; i < 20; i++) batch.put(utf8(`k${round}${i}`), new Uint8Array(100))
    await world.settle(Promise.resolve(database.write(batch)))
    await world.settle(database.flush())
  }
  let failed = 0
  disk.inject = ({ kind }) => {
    if (kind !== 'read' && kind !== 'readNow') return undefined
    failed++
    return 'EIO'
  }
  return { world, database, failed: () => failed }
}

it('two reads of a getMany fail: it rejects with the failure, once both have ended', async () => {
  const { world, database, failed } = await databaseWithoutReads()
  await expect(world.settle(Promise.resolve(database.getMany([utf8('k10'), utf8('k219')])))).rejects.toThrow('EIO')
  expect(failed()).toBe(2)
})

it('a read of a getMany fails at once while another is under way that fails too: it rejects, and both are heard', async () => {
  const { world, database, failed } = await databaseWithoutReads()
  const broken = new Proxy(utf8('k219'), {
    get: () => {
      throw new Error('fails at once')
    },
  })
  await expect(world.settle((async () => await database.getMany([utf8('k10'), broken]))())).rejects.toThrow('EIO')
  expect(failed()).toBe(1)
})

it('two reads of an iterator that begins fail: it rejects, once both have ended', async () => {
  const { world, database, failed } = await databaseWithoutReads()
  const iterator = database.iterate()
  await expect(world.settle((async () => await iterator.next())())).rejects.toThrow('EIO')
  expect(failed()).toBe(2)
  iterator.close()
})

class FailingSource extends Source {
  readonly #fail: () => MaybePromise<void>

  constructor(fail: () => MaybePromise<void>) {
    super()
    this.#fail = fail
  }

  seek(): MaybePromise<void> {
    return this.#fail()
  }

  advance(): MaybePromise<void> {
    return this.#fail()
  }
}

it('a source of a merge fails at once while another is under way that fails too: the seek rejects, and both are heard', async () => {
  let fail: ((error: Error) => void) | undefined
  const slow = new FailingSource(
    () =>
      new Promise<void>((_, reject) => {
        fail = reject
      }),
  )
  const fast = new FailingSource(() => {
    throw new Error('fails at once')
  })
  const merge = new Merge([slow, fast], false)
  let ended = false
  const sought = (async () => await merge.seek(undefined))().finally(() => {
    ended = true
  })
  sought.catch(() => undefined)
  await new Promise((resolve) => setImmediate(resolve))
  expect(ended).toBe(false)
  fail?.(new Error('fails later'))
  await expect(sought).rejects.toThrow('fails later')
  expect(merge.top).toBe(undefined)
})
