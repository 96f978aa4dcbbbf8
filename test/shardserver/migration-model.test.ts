import { describe, expect, it } from 'vitest'
import { utf8Text } from '../../base/bytes.ts'
import { SeededRandom } from '../../base/random.ts'
import type { GroupResult } from '../../shardserver/apply-run.ts'
import type { Command } from '../../shardserver/commands.ts'
import { keyOf, type Machine, openMachine } from './builders.ts'
import { RandomHistory } from './group-history.ts'
import { GroupModel, resultText } from './group-model.ts'
import { copyExport, Mover, TestGroup } from './movers.ts'

const seeds = Array.from({ length: 10 }, (_, i) => i + 1)
const length = 240
const shards = [1, 2]

type Phase = 'planned' | 'imported' | 'cut' | 'ingested' | 'released' | 'active'

/** A second replica of a group, which falls behind, restarts and catches up as it likes. */
class Twin {
  readonly #group: TestGroup
  replica: Machine

  constructor(group: TestGroup, replica: Machine) {
    this.#group = group
    this.replica = replica
  }

  async catchUp(): Promise<void> {
    const { machine, store, horizons } = this.replica
    await machine.apply(this.#group.log.entries.slice(machine.applied))
    // The other replica keeps what has expired.
    store.dropExpired(horizons)
  }

  async restart(): Promise<void> {
    this.replica = await openMachine(this.replica.store.crash())
  }
}

/** Two groups, each with a twin, clients that write wherever the shards are, and one migration after the other, with all that may go wrong. */
class Run {
  readonly #random: SeededRandom
  readonly #model = new GroupModel()
  readonly #groups: readonly [TestGroup, TestGroup]
  readonly #twins: readonly [Twin, Twin]
  readonly #homes = new Map<number, TestGroup>()
  readonly ended = new Map<string, number>()
  #moving: { readonly mover: Mover; phase: Phase } | undefined
  #nextId = 1
  #epoch = 1

  private constructor(seed: number, groups: readonly [TestGroup, TestGroup], twins: readonly [Twin, Twin]) {
    this.#random = new SeededRandom(seed)
    this.#groups = groups
    this.#twins = twins
    for (const shard of shards) this.#homes.set(shard, groups[0])
  }

  static async begin(seed: number): Promise<Run> {
    const [a, b] = [await TestGroup.open('a@1'), await TestGroup.open('b@1')]
    return new Run(seed, [a, b], [new Twin(a, await openMachine()), new Twin(b, await openMachine())])
  }

  async go(history: RandomHistory): Promise<void> {
    for (const [i, entry] of history.entries.entries()) {
      // While nobody serves a shard its time stands: the model knows one time for all.
      const canTimePass = this.#moving?.phase !== 'released'
      if (canTimePass) this.#model.time(entry.timeMs)
      for (const group of this.#groups) group.timeMs = this.#model.timeMs
      if (entry.kind === 'birth') await this.#birth(entry.shards)
      else if (entry.kind === 'mark') await this.#mark()
      else await this.#write(entry.client, entry.commands)
      if (this.#random.below(2) === 0) await this.#move()
      if (this.#random.below(10) === 0) await this.#disturb()
      if (i % 25 === 0) await this.compare()
    }
  }

  async compare(): Promise<void> {
    await this.#mark()
    for (const shard of this.#model.shards.keys()) {
      const home = this.#homes.get(shard) as TestGroup
      if (this.#moving?.phase === 'released' && this.#moving.mover.shards.includes(shard)) continue
      for (const number of [0, 1, 2, 3]) {
        const expected = this.#model.get(shard, keyOf(shard, number))
        const outcome = await home.machine.read(shard, keyOf(shard, number), 0)
        const found = outcome.kind === 'found' ? { value: utf8Text(outcome.value), revision: outcome.revision } : undefined
        expect(found, `shard ${shard} in ${home.name}`).toEqual(expected && { value: expected.value, revision: expected.revision })
      }
    }
    for (const [i, group] of this.#groups.entries()) {
      await (this.#twins[i] as Twin).catchUp()
      expect(await (this.#twins[i] as Twin).replica.machine.stateHash(), group.name).toEqual(await group.machine.stateHash())
    }
  }

  async #birth(which: readonly number[]): Promise<void> {
    this.#groups[0].log.birth(this.#groups[0].timeMs, which)
    await this.#groups[0].run()
    for (const shard of which) this.#model.birth(shard)
  }

  async #mark(): Promise<void> {
    for (const group of this.#groups) {
      group.log.mark(group.timeMs)
      await group.run()
    }
  }

  /** Each command goes to both groups: the one that serves does what the model does, the other refuses. */
  async #write(client: number, commands: readonly Command[]): Promise<void> {
    if (commands.length === 0) return
    const { phase, mover } = this.#moving ?? {}
    const isServed = (shard: number) => !(phase === 'released' && mover?.shards.includes(shard))
    const expected = commands.map((command) => (isServed(command.shard ?? 0) ? this.#model.command(client, command) : undefined))
    for (const group of this.#groups) {
      group.log.write(group.timeMs, client, ...commands)
      const texts = textsOf(await group.run())
      for (const [i, { shard }] of commands.entries()) {
        const isHome = isServed(shard ?? 0) && this.#homes.get(shard ?? 0) === group
        if (isHome) expect(texts[i], `shard ${shard} in ${group.name}`).toBe(expected[i])
        else expect(texts[i]).toMatch(/\["code",(2|3)\]/)
      }
    }
  }

  async #move(): Promise<void> {
    this.#moving ??= this.#plan()
    const moving = this.#moving
    if (moving === undefined) return
    const { mover, phase } = moving
    const draw = this.#random.below(20)
    if (phase !== 'released' && phase !== 'active' && draw === 0) return this.#abort(mover)
    if (phase === 'cut' && draw < 4) return this.#recut(mover)
    if (phase === 'ingested' && draw < 6) {
      const isBehind = mover.cursor < mover.source.machine.applied
      expect((await mover.replay(200)).kind).toBe(isBehind ? 'migrated' : 'not-migrated')
      return
    }
    if (phase === 'released' && draw < 3) return this.#giveBack(mover)
    moving.phase = await this.#advance(mover, phase)
  }

  #plan(): { mover: Mover; phase: Phase } | undefined {
    const set = this.#random.below(3) === 0 ? [1, 2] : [1 + this.#random.below(2)]
    const source = this.#homes.get(set[0] as number) as TestGroup
    const canMove = set.every((shard) => source.stateOf(shard) === 'serving')
    if (!canMove) return undefined
    const target = this.#groups[0] === source ? this.#groups[1] : this.#groups[0]
    return { mover: new Mover(this.#nextId++, set, source, target), phase: 'planned' }
  }

  async #advance(mover: Mover, phase: Phase): Promise<Phase> {
    const take = async (step: () => Promise<GroupResult>) => {
      expect(await step()).toMatchObject({ kind: 'migrated' })
      // Whoever proposes it once more, or late, does no harm.
      if (this.#random.below(3) === 0) expect(await step()).toMatchObject({ kind: 'not-migrated' })
    }
    switch (phase) {
      case 'planned':
        await take(() => mover.import())
        return 'imported'
      case 'imported':
        await take(() => mover.export())
        return 'cut'
      case 'cut':
        await this.#ingest(mover, take)
        return 'ingested'
      case 'ingested':
        await take(() => mover.release())
        return 'released'
      case 'released':
        expect(await mover.activate(++this.#epoch)).toMatchObject({ kind: 'migrated' })
        for (const shard of mover.shards) {
          expect(mover.target.stateOf(shard)).toBe('serving')
          this.#homes.set(shard, mover.target)
        }
        return 'active'
      case 'active':
        await take(() => mover.outcome(mover.source, 'done'))
        this.#end('moved')
        return 'active'
    }
  }

  /** Each replica of the target pulls from some replica of the source. */
  async #ingest(mover: Mover, take: (step: () => Promise<GroupResult>) => Promise<void>): Promise<void> {
    const [from, to] = [this.#twinOf(mover.source), this.#twinOf(mover.target)]
    await from.catchUp()
    await to.catchUp()
    const sources = [mover.source.replica, from.replica]
    const pick = () => sources[this.#random.below(2)] as Machine
    const held = await copyExport(pick(), mover.target.replica, mover.id, mover.attempt)
    expect(await copyExport(pick(), to.replica, mover.id, mover.attempt)).toMatchObject({ digest: held.digest, cut: held.cut })
    if (this.#random.below(2) === 0) await to.restart()
    await take(() => mover.ingest(held))
  }

  async #recut(mover: Mover): Promise<void> {
    mover.attempt++
    expect(await mover.import()).toMatchObject({ kind: 'migrated' })
    expect(await mover.export()).toMatchObject({ kind: 'migrated' })
  }

  async #abort(mover: Mover): Promise<void> {
    await mover.outcome(mover.source, 'aborted')
    await mover.outcome(mover.target, 'aborted')
    this.#end('aborted')
  }

  async #giveBack(mover: Mover): Promise<void> {
    const after = mover.cursor
    const { upTo, shards: deltas } = await mover.delta(after)
    await mover.target.step({ kind: 'refuse', ...mover.names })
    const late = { kind: 'activate', ...mover.names, after, upTo, deltas, epochs: mover.shards.map(() => this.#epoch) } as const
    expect(await mover.target.step(late)).toMatchObject({ kind: 'not-migrated' })
    await mover.outcome(mover.target, 'given-back', ++this.#epoch)
    await mover.outcome(mover.source, 'given-back', this.#epoch)
    this.#end('given back')
  }

  #end(how: string): void {
    this.ended.set(how, (this.ended.get(how) ?? 0) + 1)
    for (const shard of this.#moving?.mover.shards ?? []) {
      for (const group of this.#groups) expect(group.stateOf(shard)).toMatch(this.#homes.get(shard) === group ? 'serving' : /absent|unborn/)
    }
    this.#moving = undefined
  }

  /** A replica seals, or its process ends and comes back. */
  async #disturb(): Promise<void> {
    const which = this.#random.below(2)
    const group = this.#groups[which] as TestGroup
    const twin = this.#twins[which] as Twin
    const draw = this.#random.below(4)
    if (draw === 0) await group.machine.flush()
    else if (draw === 1) await twin.restart()
    else if (draw === 2) {
      await twin.catchUp()
      await twin.replica.machine.flush()
    } else if (this.#moving === undefined) await group.restart()
  }

  #twinOf(group: TestGroup): Twin {
    return this.#twins[this.#groups.indexOf(group)] as Twin
  }
}

function textsOf(result: GroupResult): string[] {
  return result.kind === 'written' ? result.results.map(resultText) : []
}

describe('shards that move under random clients', () => {
  const ended = new Map<string, number>()

  it.each(seeds)('answer as if they had never moved, the same on all replicas (seed %i)', async (seed) => {
    const run = await Run.begin(seed)
    await run.go(new RandomHistory(seed, length))
    await run.compare()
    for (const [how, count] of run.ended) ended.set(how, (ended.get(how) ?? 0) + count)
  })

  it('came to every end', () => {
    for (const how of ['moved', 'aborted', 'given back']) expect(ended.get(how) ?? 0, how).toBeGreaterThan(5)
  })
})
