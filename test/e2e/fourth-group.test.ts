/** A fourth group joins 256 shards over three real groups under load, and leaves: what moved, by every config that there was. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ClusterUnderLoad } from '../chaos/cluster-under-load.ts'
import { HistoryOfOwners } from '../chaos/history-of-owners.ts'
import { jsonOf, thinkMs } from './expectations.ts'
import { Up } from './up.ts'

interface ConfigJson {
  readonly number: number
  readonly assignment: readonly string[]
}

const shardCount = 256
const seed = Math.floor(Math.random() * 2 ** 31)

let up: Up
let load: ClusterUnderLoad
let history: HistoryOfOwners
beforeAll(async () => {
  up = await Up.start(['--groups', '3', '--shards', String(shardCount)])
  load = new ClusterUnderLoad(up, { seed, clients: 4, keys: 200, deadlineMs: 30_000, thinkMs })
  await load.start()
  history = new HistoryOfOwners(up.ready.controllers)
})
afterAll(async () => {
  history?.close()
  await load?.stop()
  await up?.dispose()
})

const run = (words: readonly string[]) => up.run(words)
const query = async () => (await jsonOf(run, ['admin', 'query'])) as ConfigJson

function counts({ assignment }: ConfigJson): Record<string, number> {
  const owned: Record<string, number> = {}
  for (const group of assignment) owned[group] = (owned[group] ?? 0) + 1
  return owned
}

describe(`a fourth group (seed ${seed})`, { timeout: 120_000 }, () => {
  it('takes exactly 64 shards of the three, each once; when it leaves, the same 64 go back to them', async () => {
    const before = await query()
    const nodes = up.ready.nodes.map(({ id, address }) => `${id}=${address}`).join(',')
    await jsonOf(run, ['admin', 'join', 'g4', '--nodes', nodes, '--wait'])
    const joined = await query()
    expect(counts(joined)).toEqual({ g1: 64, g2: 64, g3: 64, g4: 64 })
    const moved = new Set(joined.assignment.flatMap((group, shard) => (group === 'g4' ? [shard] : [])))
    expect(joined.assignment.filter((group, shard) => !moved.has(shard) && group !== before.assignment[shard])).toEqual([])
    // The group, then a number for each shard.
    expect(joined.number).toBe(before.number + 1 + 64)
    history.expect(before.number, joined.number, moved, 'the join')

    await jsonOf(run, ['admin', 'leave', 'g4', '--wait'])
    const left = await query()
    expect(Object.values(counts(left)).sort()).toEqual(Object.values(counts(before)).sort())
    expect(left.assignment.filter((group, shard) => !moved.has(shard) && group !== joined.assignment[shard])).toEqual([])
    history.expect(joined.number, left.number, moved, 'the leave')
    expect(await history.check()).toBe(left.number - before.number)
  })
})
