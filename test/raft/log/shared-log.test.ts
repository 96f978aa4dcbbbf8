import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { utf8 } from '../../../base/bytes.ts'
import { silentLogger } from '../../../base/logger.ts'
import { NodeClock } from '../../../base/node-clock.ts'
import { NodeFileSystem } from '../../../base/node-file-system.ts'
import type { Entry } from '../../../raft/core/types.ts'
import type { GroupLog } from '../../../raft/log/group-log.ts'
import { SharedLog, type SharedLogOptions } from '../../../raft/log/shared-log.ts'

let folder: string
const failures: Error[] = []

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ostraka-log-'))
  failures.length = 0
})
afterEach(() => {
  rmSync(folder, { recursive: true, force: true })
  expect(failures).toEqual([])
})

function open(options: Partial<SharedLogOptions> = {}): Promise<SharedLog> {
  return SharedLog.open({
    fileSystem: new NodeFileSystem(),
    clock: new NodeClock(),
    logger: silentLogger,
    folder: join(folder, 'log'),
    onFailure: (error) => failures.push(error),
    ...options,
  })
}

function entry(index: number, term = 1, data: string | Uint8Array = `e${index}.${term}`): Entry {
  return { term, index, kind: index % 2, data: typeof data === 'string' ? utf8(data) : data }
}

function entries(from: number, to: number, term = 1, bytes?: number): Entry[] {
  const result: Entry[] = []
  for (let i = from; i <= to; i++) result.push(entry(i, term, bytes === undefined ? undefined : new Uint8Array(bytes).fill(i)))
  return result
}

function durably(log: GroupLog, list: readonly Entry[], hardState?: Parameters<GroupLog['append']>[1]): Promise<void> {
  return new Promise((resolve) => log.append(list, hardState, resolve))
}

const a = { uid: 'g1@1', replica: 1 }
const b = { uid: 'g2@2', replica: 7 }

describe('the shared log on a real file system', () => {
  it('gives back after a restart what was acknowledged', async () => {
    let log = await open()
    const groupA = log.group(a)
    await Promise.all([
      durably(groupA, entries(1, 5), { term: 1, vote: 2, commit: 3 }),
      durably(log.group(b), entries(1, 3, 4), { term: 4, vote: 7, commit: 0 }),
    ])
    await durably(groupA, entries(4, 4, 2), { term: 2, vote: 0, commit: 3 })
    groupA.truncateTo(2, 1)
    expect([groupA.firstIndex, groupA.lastIndex, groupA.term(2), groupA.term(1)]).toEqual([3, 4, 1, undefined])
    await log.close()

    log = await open()
    expect(log.damage).toEqual([])
    expect(log.groups()).toEqual([a, b])
    const again = log.group(a)
    expect([again.firstIndex, again.lastIndex, again.term(2), again.term(4)]).toEqual([3, 4, 1, 2])
    expect(again.hardState).toEqual({ term: 2, vote: 0, commit: 3 })
    expect(await again.load(3, 5, 1e6)).toEqual([entry(3), entry(4, 2)])
    expect(log.group(b).hardState).toEqual({ term: 4, vote: 7, commit: 0 })
    await log.close()
  })

  it('loads what entries() misses and calls onLoaded', async () => {
    let log = await open()
    await durably(log.group(a), entries(1, 100, 1, 1000))
    await log.close()
    log = await open()
    const group = log.group(a)
    expect(group.entries(10, 20, 1e6)).toBeUndefined()
    await new Promise<void>((resolve) => (group.onLoaded = resolve))
    expect(group.entries(10, 20, 1e6)).toEqual(entries(10, 19, 1, 1000))
    expect(group.entries(10, 20, 2500)).toEqual(entries(10, 11, 1, 1000))
    await log.close()
  })

  it('frees segments oldest first, and writes the small rest of the oldest again', async () => {
    let log = await open({ segmentBytes: 20_000 })
    const [groupA, groupB] = [log.group(a), log.group(b)]
    await durably(groupB, entries(1, 2, 1, 100), { term: 1, vote: 7, commit: 1 })
    for (let i = 1; i <= 100; i++) await durably(groupA, entries(i, i, 1, 1000))
    const before = log.stats().segments
    expect(before).toBeGreaterThan(4)
    groupA.truncateTo(90, 1)
    expect(log.pinned()).toEqual([{ key: b, bytes: 232 }])
    await log.reclaim()
    expect(log.stats().segments).toBeLessThan(before - 3)
    expect(readdirSync(join(folder, 'log'))).toHaveLength(log.stats().segments)
    await log.close()
    log = await open({ segmentBytes: 20_000 })
    expect(log.damage).toEqual([])
    expect(await log.group(b).load(1, 3, 1e6)).toEqual(entries(1, 2, 1, 100))
    expect(log.group(b).hardState).toEqual({ term: 1, vote: 7, commit: 1 })
    expect(await log.group(a).load(91, 101, 1e6)).toEqual(entries(91, 100, 1, 1000))
    await log.close()
  })
})
