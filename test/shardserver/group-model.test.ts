import { describe, expect, it } from 'vitest'
import { utf8Text } from '../../base/bytes.ts'
import { SeededRandom } from '../../base/random.ts'
import type { GroupResult } from '../../shardserver/apply-run.ts'
import { keyOf, type Machine, openMachine } from './builders.ts'
import { type HistoryEntry, RandomHistory } from './group-history.ts'
import { GroupModel, resultText } from './group-model.ts'

const seeds = Array.from({ length: 25 }, (_, i) => i + 1)
const length = 400

/** What the model says to an entry: the replies to its commands. */
function tell(model: GroupModel, entry: HistoryEntry): string[] {
  if (entry.kind !== 'nothing') model.time(entry.timeMs)
  for (const shard of entry.shards) model.birth(shard)
  return entry.commands.map((command) => model.command(entry.client, command))
}

function texts(result: GroupResult | undefined): string[] {
  return result?.kind === 'written' ? result.results.map(resultText) : []
}

async function compareRecords(machine: Machine, model: GroupModel): Promise<void> {
  for (const shard of model.shards.keys()) {
    for (const number of [0, 1, 2, 3]) {
      const key = keyOf(shard, number)
      const expected = model.get(shard, key)
      const outcome = await machine.machine.read(shard, key, 0)
      const found = outcome.kind === 'found' ? { value: utf8Text(outcome.value), revision: outcome.revision } : undefined
      expect(found).toEqual(expected && { value: expected.value, revision: expected.revision })
    }
  }
}

describe('a group under random clients', () => {
  let dropped = 0

  it.each(seeds)('does what the model does (seed %i)', async (seed) => {
    const history = new RandomHistory(seed, length)
    const model = new GroupModel()
    const machine = await openMachine()
    let commands = 0
    for (const [i, entry] of history.entries.entries()) {
      const expected = tell(model, entry)
      const results = await machine.machine.apply(history.log.entries.slice(i, i + 1))
      expect(texts(results[0]), `entry ${i + 1}`).toEqual(expected)
      commands += expected.length
      if (i % 40 === 0) await compareRecords(machine, model)
    }
    await compareRecords(machine, model)
    expect(commands).toBeGreaterThan(length)
  })

  it.each(seeds)('comes to the same after crashes, in runs of any length, warm or cold, with any seals (seed %i)', async (seed) => {
    const history = new RandomHistory(seed, length)
    const model = new GroupModel()
    const expected = history.entries.map((entry) => tell(model, entry))
    const plain = await openMachine()
    const random = new SeededRandom(seed + 1000)
    let other = await openMachine()
    let crashes = 0
    while (other.machine.applied < length) {
      other.store.cold = random.below(2) === 0
      other.clock.stepMs = random.below(3)
      other.store.wantsSeal = random.below(3) === 0
      other.store.stuck = random.below(8) === 0
      const from = other.machine.applied
      const run = history.log.entries.slice(from, from + 1 + random.below(60))
      const results = await other.machine.apply(run)
      expect(results.map(texts)).toEqual(expected.slice(from, from + run.length))
      if (crashes === 0 || random.below(4) === 0) {
        crashes++
        other = await openMachine(other.store.crash())
      }
      if (random.below(2) === 0) dropped += other.store.dropExpired(other.horizons)
      const at = other.machine.applied
      if (plain.machine.applied <= at) {
        if (plain.machine.applied < at) await plain.machine.apply(history.log.entries.slice(plain.machine.applied, at))
        expect(await other.machine.stateHash(), `at ${at}`).toEqual(await plain.machine.stateHash())
      }
    }
    await compareRecords(other, model)
  })

  it('had expired records dropped meanwhile', () => {
    expect(dropped).toBeGreaterThan(50)
  })

  it('meets every kind of reply', () => {
    const seen = new Map<string, number>()
    for (const seed of seeds) {
      const model = new GroupModel()
      for (const entry of new RandomHistory(seed, length).entries) {
        for (const reply of tell(model, entry)) {
          const kind = (JSON.parse(reply) as [string, unknown][])
            .map(([name, value]) => (name === 'code' ? `code ${value}` : name))
            .join(' ')
          seen.set(kind, (seen.get(kind) ?? 0) + 1)
        }
      }
    }
    for (const kind of [
      'code 2',
      'code 4',
      'code 5',
      'code 11',
      'revision',
      'existed revision',
      'length revision',
      'revision value',
      'applied revision',
      'current',
    ]) {
      expect(seen.get(kind) ?? 0, kind).toBeGreaterThan(10)
    }
  })
})
