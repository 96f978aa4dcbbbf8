/** A new move every second, asked for by command and not waited for, while leaders that take part in moves are killed every few seconds. */
import { setTimeout as delay } from 'node:timers/promises'
import type { SeededRandom } from '../../../base/random.ts'
import { AdminCli, type ConfigJson, type MigrationJson } from '../admin-cli.ts'
import type { ClusterUnderLoad } from '../cluster-under-load.ts'
import { converged } from '../convergence.ts'
import { HistoryOfOwners } from '../history-of-owners.ts'
import { Killer } from '../killer.ts'
import { type Figures, fail } from './stage.ts'

export interface MovesEachSecondOptions {
  readonly seconds: number
  /** Between two kills. */
  readonly killEveryMs: number
}

const moveEveryMs = 1000
const againMs = 50
/** From the last kill to a cluster that is whole. */
const convergedMsMax = 20_000
/** Half of the moves are of so few shards, so that one goes on, or back, while it is cleaned up where it was. */
const busyShards = 8

export async function movesEachSecond(
  load: ClusterUnderLoad,
  random: SeededRandom,
  { seconds, killEveryMs }: MovesEachSecondOptions,
): Promise<Figures> {
  const { controllers } = load.cluster.ready
  const admin = new AdminCli(load.cluster)
  const before = await admin.config()
  const killer = new Killer(controllers, random.fork())
  const history = new HistoryOfOwners(controllers)
  const killing = killer.run({ everyMs: killEveryMs, order: 'at random' })
  const mover = new Mover(admin, random.fork(), before)
  try {
    await mover.run(seconds)
    killer.stop()
    await killing
    const lastFaultMs = killer.lastKillMs ?? performance.now()
    await mover.answered()
    const sinceFaultMs = performance.now() - lastFaultMs
    const { endedMs, servedMs, answeredMs } = await converged(load.cluster, load.client, convergedMsMax - sinceFaultMs)
    const since = (ms: number) => Math.round(sinceFaultMs + ms)
    const converging = { movesEndedAfterMs: since(endedMs), servedAfterMs: since(servedMs), convergedAfterMs: since(answeredMs) }
    const after = await admin.config()
    const migrations = await admin.migrations()
    const figures = { ...mover.figures(), ...killer.figures(), ...converging, ...ends(migrations), configs: after.number - before.number }
    judgeOwners(await history.owners(before.number, after.number), migrations, figures)
    judgePins(mover.newest, after, migrations, figures)
    return figures
  } finally {
    killer.stop()
    await killing
    killer.close()
    history.close()
  }
}

interface Accepted {
  readonly group: string
  /** Undefined: it was there already. */
  readonly migration: number | undefined
}

/** Asks for moves. */
class Mover {
  /** The newest accepted move of each shard. */
  readonly newest = new Map<number, Accepted>()
  readonly #admin: AdminCli
  readonly #random: SeededRandom
  readonly #first: ConfigJson
  /** Shards of which it is not known yet whether they move. */
  readonly #asking = new Set<number>()
  readonly #asks = new Set<Promise<void>>()
  #accepted = 0
  #refused = 0
  #failure: unknown

  constructor(admin: AdminCli, random: SeededRandom, first: ConfigJson) {
    this.#admin = admin
    this.#random = random
    this.#first = first
  }

  /** One every second, whether or not those before were answered. */
  async run(seconds: number): Promise<void> {
    const startMs = performance.now()
    for (let i = 1; i <= seconds && this.#failure === undefined; i++) {
      const ask = this.#one()
        .catch((error: unknown) => {
          this.#failure ??= error
        })
        .finally(() => this.#asks.delete(ask))
      this.#asks.add(ask)
      await delay(Math.max(0, startMs + i * moveEveryMs - performance.now()))
    }
  }

  /** Resolves when it is known of every move whether it was accepted. */
  async answered(): Promise<void> {
    await Promise.all(this.#asks)
    if (this.#failure !== undefined) throw this.#failure
  }

  figures() {
    return { moves: this.#accepted, refused: this.#refused, repeatedCommands: this.#admin.repeated }
  }

  /** Another shard where one is refused because it moves still. */
  async #one(): Promise<void> {
    for (;;) {
      const shard = this.#random.below(this.#random.next() < 0.5 ? busyShards : this.#first.shardCount)
      if (this.#asking.has(shard)) continue
      this.#asking.add(shard)
      const group = this.#otherGroup(shard)
      const change = await this.#admin.beginMove(shard, group).finally(() => this.#asking.delete(shard))
      if (change === undefined) {
        this.#refused++
        await delay(againMs)
        continue
      }
      this.#accepted++
      this.newest.set(shard, { group, migration: change.migrations[0] })
      return
    }
  }

  #otherGroup(shard: number): string {
    const owner = this.newest.get(shard)?.group ?? this.#first.assignment[shard]
    const others = Object.keys(this.#first.groups).filter((group) => group !== owner)
    return others[this.#random.below(others.length)] ?? ''
  }
}

function ends(migrations: readonly MigrationJson[]) {
  const done = migrations.filter(({ phase }) => phase === 'done')
  const pauses = done.map(({ pauseMs }) => pauseMs ?? 0).sort((a, b) => a - b)
  const rounded = (ms = 0) => Math.round(ms * 10) / 10
  return {
    done: done.length,
    aborted: migrations.length - done.length,
    pauseMedianMs: rounded(pauses[Math.floor(pauses.length / 2)]),
    pauseMaxMs: rounded(pauses.at(-1)),
  }
}

/** Shards went where migrations took them, in their order, and nowhere else: not even there and back by a move that was given back. */
function judgeOwners(owners: ReadonlyMap<number, readonly string[]>, migrations: readonly MigrationJson[], figures: Figures): void {
  const taken = new Map<number, string[]>()
  for (const { shards, phase, to } of [...migrations].sort((a, b) => a.id - b.id)) {
    if (phase === 'done') for (const shard of shards) taken.set(shard, [...(taken.get(shard) ?? []), to])
  }
  for (const shard of new Set([...owners.keys(), ...taken.keys()])) {
    const [was, wanted] = [String(owners.get(shard) ?? []), String(taken.get(shard) ?? [])]
    if (was !== wanted) fail(`shard ${shard} went to ${was || 'nobody'}; its migrations took it to ${wanted || 'nobody'}`, figures)
  }
}

/** What was accepted was done, or aborted with a reason that the history tells. */
function judgePins(newest: Mover['newest'], after: ConfigJson, migrations: readonly MigrationJson[], figures: Figures): void {
  for (const [shard, { group, migration }] of newest) {
    if (after.pins[shard] !== group) fail(`shard ${shard} is pinned to ${after.pins[shard]}, and was moved to ${group}`, figures)
    const moved = migrations.find(({ id }) => id === migration)
    if (moved?.phase === 'aborted' ? moved.reason === undefined : after.assignment[shard] !== group) {
      fail(`shard ${shard} belongs to ${after.assignment[shard]}, and was moved to ${group} by ${JSON.stringify(moved)}`, figures)
    }
  }
}
