import { describe, expect, it } from 'vitest'
import { SeededRandom } from '../../base/random.ts'
import { ConfigState } from '../../controller/config-state.ts'
import { ConfigStateMachine, loadConfigStateMachine } from '../../controller/config-state-machine.ts'
import { shares } from '../../controller/quotas.ts'
import type { Config } from '../../proto/config.ts'
import { OstrakaError } from '../../proto/errors.ts'
import { pb } from '../../proto/messages.ts'
import { mergeMigrationList, noMigrations } from '../../proto/migration-list.ts'
import { firstOf } from '../raft/standings.ts'
import { entryAt } from './entries.ts'
import { MemoryDatabase } from './fake-controllers.ts'
import { Lab, type Said } from './lab.ts'

/** A command or report that might come next; refusals are part of the game. */
function act(lab: Lab, random: SeededRandom, names: string[]): void {
  const groups = lab.config.groups.map(({ name }) => name)
  const group = () => groups[random.below(groups.length)] ?? 'g0'
  const shard = () => random.below(lab.config.shardCount + 1)
  const id = () => 1 + random.below(lab.state.migrations.next)
  const said: readonly Said[] = ['ready', 'ready', 'ready', 'active', 'active', 'clean', 'clean', 'refused', 'cannot']
  const report = () => {
    const record = lab.state.migrations.byId.get(id())
    lab.report(record?.id ?? id(), said[random.below(said.length)] ?? 'ready', random.below(3) === 0 ? record?.from : record?.to)
  }
  const open = () => lab.open()[random.below(lab.open().length)]?.shards[0] ?? shard()
  const steerings = ['pause', 'resume', 'cancel'] as const
  const acts: readonly (() => unknown)[] = [
    () => lab.join([names[random.below(names.length)] ?? 'g0']),
    () => lab.leave(group()),
    () => lab.move(shard(), group()),
    () => lab.rebalance(),
    () => lab.steer(open(), steerings[random.below(3)] ?? 'pause'),
    () => (random.below(2) === 0 ? lab.unpin(shard()) : lab.move(open(), group())),
    () => lab.upkeep(),
    () => abandonSometimes(lab, random, group()),
    () => confirmBirths(lab),
  ]
  const choice = acts[random.below(16)] ?? report
  choice()
}

function abandonSometimes(lab: Lab, random: SeededRandom, name: string): void {
  if (random.below(6) > 0) return
  lab.lost.add(name)
  lab.leave(name, { abandonData: true, confirmShards: lab.counts()[name] ?? 0 })
  lab.lost.delete(name)
}

function confirmBirths(lab: Lab): void {
  for (const birth of [...lab.state.migrations.births.values()]) lab.born(birth.group, [birth])
}

/** What must hold after every entry. */
function watch(lab: Lab, random: SeededRandom, message: () => string): void {
  let before: Config = lab.config
  let next = 1
  const ids = new Set<number>()
  let listed = noMigrations
  const list = (known: number) => pb.v1.MigrationList.decode(pb.v1.MigrationList.encode(lab.state.migrations.list(known)).finish())
  lab.onEntry = () => {
    const { config, state } = lab
    for (let number = before.number + 1; number <= config.number; number++) {
      const step = state.recent.find((one) => one.to?.number === number)
      expect(step?.to?.cause, message()).toBeTruthy()
    }
    for (let shard = 0; shard < config.shardCount; shard++) {
      const moved = config.groupOf(shard)?.uid !== before.groupOf(shard)?.uid
      const born = state.migrations.births.get(shard)?.epoch === config.epochOf(shard)
      const risen = config.epochOf(shard) - before.epochOf(shard)
      expect(moved ? [1] : born ? [0, 1] : [0], message()).toContain(risen)
    }
    const moving = state.migrations.open().flatMap(({ shards }) => shards)
    expect(new Set(moving).size, message()).toBe(moving.length)
    for (const record of state.migrations.open()) {
      for (const shard of record.shards) {
        const owner = config.groupOf(shard)?.uid
        expect(owner, message()).toBe(record.phase === 'copying' ? record.from : record.to)
      }
    }
    for (; next < state.migrations.next; next++) {
      expect(state.migrations.byId.has(next) && !ids.has(next), message()).toBe(true)
      ids.add(next)
    }
    if (random.below(4) === 0) {
      // Who is told what changed knows as much as who is told everything.
      listed = mergeMigrationList(listed, list(listed.version))
      const whole = mergeMigrationList(noMigrations, list(0))
      const births = [...listed.births].sort((a, b) => a.shard - b.shard)
      expect({ ...listed, births }, message()).toEqual(whole)
    }
    for (const uid of state.migrations.tombstones) expect(config.groupByUid(uid), message()).toBeUndefined()
    before = config
  }
}

/** Nobody steers any more, and all that was planned is done: every group has its share, what is pinned aside. */
function settle(lab: Lab, message: string): void {
  for (const record of lab.open()) if (record.paused) lab.steer(record.shards[0] ?? 0, 'resume')
  for (const shard of lab.config.pins.keys()) lab.unpin(shard)
  for (let round = 0; round < 20; round++) {
    for (const { id, phase } of lab.open()) lab.report(id, phase === 'copying' ? 'ready' : 'active')
    confirmBirths(lab)
    for (const { id } of [...lab.state.migrations.byId.values()]) {
      if (!lab.open().some((record) => record.id === id)) lab.clean(id)
    }
    lab.upkeep()
    if (lab.open().length === 0) lab.rebalance()
    if (lab.open().length === 0) break
  }
  const { config } = lab
  expect(lab.open(), message).toEqual([])
  expect(lab.state.migrations.list().migrations, message).toEqual([])
  expect(
    config.groups.every(({ state }) => state === 'active'),
    message,
  ).toBe(true)
  const exact = shares(
    config.shardCount,
    config.groups.map(({ weight }) => weight),
  )
  for (const [at, count] of config.shardCounts().entries()) {
    expect(count, message).toBeGreaterThanOrEqual(Math.floor((exact[at] ?? 0) + 1e-6))
    expect(count, message).toBeLessThanOrEqual(Math.ceil((exact[at] ?? 0) - 1e-6))
  }
}

describe('commands and reports at random', () => {
  it.each(Array.from({ length: 20 }, (_, at) => at + 1))(
    'keep every invariant, come to rest balanced, and are replayed to the same state (seed %i)',
    async (seed) => {
      const random = new SeededRandom(seed)
      const lab = new Lab(16 << random.below(3))
      const names = ['g1', 'g2', 'g3', 'g4', 'g5', 'g6']
      lab.join(['g1', 'g2', 'g3'])
      let step = 0
      const listening = new SeededRandom(seed)
      watch(lab, listening, () => `seed ${seed} step ${step}`)
      let done = 0
      for (; step < 120; step++) {
        try {
          act(lab, random, names)
          done++
        } catch (error) {
          if (!(error instanceof OstrakaError)) throw error
        }
      }
      expect(done).toBeGreaterThan(40)
      settle(lab, `seed ${seed}`)
      await mustReplay(lab, random)
    },
  )
})

/** Two replicas that take the log in different slices, one of them loaded anew from its records now and then, end where the leader is. */
async function mustReplay(lab: Lab, random: SeededRandom): Promise<void> {
  const calm = new ConfigStateMachine(new MemoryDatabase(), new ConfigState(), firstOf(3), lab.config.shardCount)
  const database = new MemoryDatabase()
  let restless = new ConfigStateMachine(database, new ConfigState(), firstOf(3), lab.config.shardCount)
  for (const [at, entry] of lab.log.entries()) {
    calm.apply([entryAt(at + 1, entry)])
    restless.apply([entryAt(at + 1, entry)])
    if (random.below(20) > 0) continue
    await restless.flush()
    restless = await loadConfigStateMachine(database, { first: firstOf(3), shardCount: lab.config.shardCount })
  }
  expect(calm.state).toEqual(lab.state)
  expect(restless.state).toEqual(lab.state)
  expect(await restless.stateHash()).toEqual(await calm.stateHash())
}
