/**
 * An operator who changes a cluster while it serves: moves, unpins, rebalances, joins and leaves, pauses, resumes and cancels at random, some of
 * it at the same time, some of it nonsense. Each answer is checked against what the contract says of it.
 */
import { assert } from '../../base/assert.ts'
import type { Random } from '../../base/random.ts'
import { type Admin, type ChangeAnswer, type ConfigView, type MigrationView, NoAnswer, Refusal } from './admin.ts'

/** How many moves must come about once all faults have ended. */
const movesInPeace = 3

export interface OperatorOptions {
  readonly shards: number
  /** All groups that ever join. */
  readonly groups: readonly string[]
  /** Those that never leave. */
  readonly steady: readonly string[]
  /** All nodes, where the members of groups are to change, too. */
  readonly nodes?: readonly string[]
}

export interface OperatorCounts {
  /** Changes that were made. */
  changes: number
  /** Changes that were refused, rightly. */
  refused: number
  /** Changes without an answer. */
  unknown: number
}

type Kind = 'move' | 'unpin' | 'rebalance' | 'join' | 'leave' | 'steer' | 'members' | 'nonsense'

const kinds: readonly { readonly kind: Kind; readonly weight: number }[] = [
  { kind: 'move', weight: 12 },
  { kind: 'unpin', weight: 3 },
  { kind: 'rebalance', weight: 2 },
  { kind: 'join', weight: 2 },
  { kind: 'leave', weight: 1 },
  { kind: 'steer', weight: 3 },
  { kind: 'members', weight: 2 },
  { kind: 'nonsense', weight: 1 },
]

export class Operator {
  readonly counts: OperatorCounts = { changes: 0, refused: 0, unknown: 0 }
  /** For people who wonder why nothing goes on. */
  lastRefusal = ''
  readonly #admin: Admin
  readonly #random: Random
  readonly #options: OperatorOptions
  /** Largest number that any answer named. */
  #newest = 0
  /** Migrations whose cancellation was acknowledged: they never end done. */
  readonly #cancelled = new Set<number>()

  constructor(admin: Admin, random: Random, options: OperatorOptions) {
    this.#admin = admin
    this.#random = random
    this.#options = options
  }

  /** One random request. Rejects only where an answer cannot be. */
  async one(): Promise<void> {
    try {
      await this.#do(this.#draw())
    } catch (error) {
      if (error instanceof Refusal) this.#refused(error)
      else if (error instanceof NoAnswer) this.counts.unknown++
      else throw error
    }
  }

  /** Some requests at once. */
  async some(): Promise<void> {
    await Promise.all(Array.from({ length: 2 + this.#random.below(3) }, () => this.one()))
  }

  /**
   * Brings the cluster to rest: nothing paused, everything joined, some shards moved, nothing pinned, balanced. To be called when it works again; asks until it
   * is answered. `again` waits a little.
   */
  async settle(again: () => Promise<void>): Promise<void> {
    const insist = async (change: () => Promise<unknown>) => {
      for (;;) {
        try {
          await change()
          return
        } catch (error) {
          if (!(error instanceof NoAnswer || error instanceof Refusal)) throw error
          this.lastRefusal = error.message
          await again()
        }
      }
    }
    await insist(() => this.#resumeAll())
    await this.#atRest(again)
    for (const group of this.#options.groups) await insist(() => this.#joinAgain(group))
    await this.#atRest(again)
    for (let i = 0; i < movesInPeace; i++) await this.#moveInPeace(insist, again)
    const { pins } = await this.#newestConfig(again)
    for (const shard of pins.keys()) await insist(() => this.#admin.unpin(shard))
    await this.#atRest(again)
    await insist(() => this.#admin.rebalance())
    await this.#atRest(again)
  }

  /** With its first members, unless it is there: then it may have others by now. */
  async #joinAgain(group: string): Promise<void> {
    const { groups } = await this.#admin.config()
    if (groups.get(group)?.state !== 'active') await this.#admin.join(group)
  }

  /** Whatever came before: a move that is asked for now comes about. */
  async #moveInPeace(insist: (change: () => Promise<unknown>) => Promise<void>, again: () => Promise<void>): Promise<void> {
    const shard = this.#random.below(this.#options.shards)
    const owner = (await this.#newestConfig(again)).assignment[shard]
    const group = this.#pick(this.#options.groups.filter((one) => one !== owner))
    await insist(() => this.#admin.move(shard, group))
    await this.#atRest(again)
    const arrived = (await this.#newestConfig(again)).assignment[shard]
    assert(arrived === group, `shard ${shard} was moved to ${group} in peace, and is in ${arrived}`)
  }

  /** What must hold of a cluster at rest and of all that ever moved in it. Call it after `settle`. `isDamaged`: some disk has lost what it held. */
  async check({ isDamaged = false } = {}): Promise<readonly MigrationView[]> {
    const config = await this.#admin.config()
    const { groups, shards } = this.#options
    const counts = new Map(groups.map((group) => [group, 0]))
    for (const [shard, group] of config.assignment.entries()) {
      assert(group !== undefined, `shard ${shard} is owned by nobody`)
      counts.set(group, (counts.get(group) ?? 0) + 1)
    }
    const share = shards / groups.length
    for (const [group, count] of counts) {
      const fair = count >= Math.floor(share) && count <= Math.ceil(share)
      assert(fair, `after a rebalance ${group} has ${count} of ${shards} shards, its share is ${share}: ${JSON.stringify([...counts])}`)
    }
    const migrations = await this.#admin.migrations()
    for (const { id, phase, givenBack, reason } of migrations) {
      assert(phase !== 'running', `migration ${id} is still running`)
      assert(isDamaged || !givenBack, `migration ${id} was given back although nothing was damaged: ${reason}`)
      assert(!(phase === 'done' && this.#cancelled.has(id)), `migration ${id} is done although it was cancelled`)
    }
    return migrations
  }

  #draw(): Kind {
    let ticket = this.#random.next() * kinds.reduce((sum, { weight }) => sum + weight, 0)
    for (const { kind, weight } of kinds) {
      ticket -= weight
      if (ticket < 0) return kind
    }
    return 'move'
  }

  async #do(kind: Kind): Promise<void> {
    const shard = this.#random.below(this.#options.shards)
    switch (kind) {
      case 'move':
        return await this.#move(shard)
      case 'unpin': {
        const config = await this.#changed(this.#admin.unpin(shard))
        return assert(!config.pins.has(shard), `config ${config.number}: shard ${shard} is pinned after its unpin`)
      }
      case 'rebalance':
        await this.#changed(this.#admin.rebalance())
        return
      case 'join':
        return await this.#join(this.#pick(this.#options.groups))
      case 'leave':
        return await this.#leave()
      case 'steer':
        return await this.#steer()
      case 'members':
        return await this.#members()
      case 'nonsense':
        return await this.#nonsense(shard)
    }
  }

  async #move(shard: number): Promise<void> {
    const group = this.#pick(this.#options.groups)
    const answer = await this.#admin.move(shard, group)
    const config = await this.#configOf(answer)
    assert(config.pins.get(shard) === group, `config ${config.number}: shard ${shard} is not pinned in ${group} after its move`)
    if (answer.migrations.length === 0) return
    const all = await this.#admin.migrations()
    for (const id of answer.migrations) {
      const planned = all.find((migration) => migration.id === id)
      assert(planned !== undefined, `migration ${id} of the move of shard ${shard} is not known`)
    }
  }

  async #join(group: string): Promise<void> {
    const config = await this.#changed(this.#admin.join(group))
    assert(config.groups.has(group), `config ${config.number}: ${group} is not there after its join`)
  }

  async #leave(): Promise<void> {
    const leavers = this.#options.groups.filter((group) => !this.#options.steady.includes(group))
    if (leavers.length === 0) return
    const group = this.#pick(leavers)
    const config = await this.#changed(this.#admin.leave(group))
    assert(config.groups.get(group)?.state !== 'active', `config ${config.number}: ${group} is active after its leave`)
  }

  async #steer(): Promise<void> {
    const running = (await this.#admin.migrations()).filter(({ phase }) => phase === 'running')
    if (running.length === 0) return
    const migration = running[this.#random.below(running.length)]
    const shard = migration?.shards[0]
    if (migration === undefined || shard === undefined) return
    const draw = this.#random.next()
    const steering = draw < 0.35 ? 'pause' : draw < 0.7 ? 'resume' : 'cancel'
    const { migrations } = await this.#admin.steer(steering, shard)
    this.counts.changes++
    if (steering === 'cancel') for (const id of migrations) this.#cancelled.add(id)
  }

  /** Puts another node in a member's place, or adds or removes one. Refused while another change of that group runs. */
  async #members(): Promise<void> {
    const { nodes } = this.#options
    if (nodes === undefined || this.#admin.changeMembers === undefined) return
    const { groups } = await this.#admin.config()
    const group = this.#pick([...groups.keys()])
    const members = (groups.get(group)?.members ?? []).map(({ node }) => node)
    const outside = nodes.filter((node) => !members.includes(node))
    const draw = this.#random.next()
    const add = draw < 0.8 && outside.length > 0 ? [this.#pick(outside)] : []
    const remove = (draw < 0.6 || add.length === 0) && members.length > 2 ? [this.#pick(members)] : []
    if (add.length === 0 && remove.length === 0) return
    const config = await this.#changed(this.#admin.changeMembers(group, add, remove))
    const after = config.groups.get(group)?.members ?? []
    for (const node of add)
      assert(
        after.some((member) => member.node === node),
        `config ${config.number}: ${node} does not join ${group}`,
      )
    for (const node of remove) {
      const stays = after.some((member) => member.node === node && member.state !== 'leaving')
      assert(!stays, `config ${config.number}: ${node} does not leave ${group}`)
    }
  }

  /** What must be refused, and changes nothing. */
  async #nonsense(shard: number): Promise<void> {
    const asked = [
      () => this.#admin.move(this.#options.shards + shard, this.#pick(this.#options.groups)),
      () => this.#admin.move(shard, 'nobody'),
      () => this.#admin.leave('nobody'),
    ]
    const answer = await asked[this.#random.below(asked.length)]?.()
    throw new Error(`nonsense was accepted: ${JSON.stringify(answer)}`)
  }

  async #changed(change: Promise<ChangeAnswer>): Promise<ConfigView> {
    return await this.#configOf(await change)
  }

  /** The config that a change was answered with; numbers only rise. */
  async #configOf({ configNumber }: ChangeAnswer): Promise<ConfigView> {
    this.counts.changes++
    this.#newest = Math.max(this.#newest, configNumber)
    const config = await this.#admin.config(configNumber)
    assert(config.number === configNumber, `asked for config ${configNumber}, got ${config.number}`)
    return config
  }

  #refused(error: Refusal): void {
    const isLine = error.message.length > 0 && !error.message.includes('\n')
    assert(isLine, `a refusal that is no line: '${error.message}'`)
    this.counts.refused++
  }

  async #resumeAll(): Promise<void> {
    for (const { phase, shards } of await this.#admin.migrations()) {
      const [shard] = shards
      if (phase !== 'running' || shard === undefined) continue
      try {
        await this.#admin.steer('resume', shard)
      } catch (error) {
        // It has ended or is committed meanwhile.
        if (!(error instanceof Refusal)) throw error
      }
    }
  }

  /** No migration runs, no group is being drained and no members change. */
  async #atRest(again: () => Promise<void>): Promise<void> {
    for (;;) {
      try {
        const running = (await this.#admin.migrations()).some(({ phase }) => phase === 'running')
        const groups = [...(await this.#admin.config()).groups.values()]
        const draining = groups.some(({ state }) => state === 'draining')
        const changing = groups.some(({ members = [] }) => members.some(({ state }) => state !== 'voter'))
        if (!running && !draining && !changing) return
      } catch (error) {
        if (!(error instanceof NoAnswer)) throw error
      }
      await again()
    }
  }

  async #newestConfig(again: () => Promise<void>): Promise<ConfigView> {
    for (;;) {
      try {
        const config = await this.#admin.config()
        assert(config.number >= this.#newest, `the newest config is ${config.number}, but ${this.#newest} was answered before`)
        return config
      } catch (error) {
        if (!(error instanceof NoAnswer)) throw error
      }
      await again()
    }
  }

  #pick(groups: readonly string[]): string {
    return groups[this.#random.below(groups.length)] ?? ''
  }
}
