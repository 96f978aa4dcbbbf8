/** Shards move under load, by the commands that people type; with kills the leaders that take part are killed meanwhile. */
import { setTimeout as delay } from 'node:timers/promises'
import type { SeededRandom } from '../../base/random.ts'
import { AdminCli, type ConfigJson, type MigrationJson } from './admin-cli.ts'
import type { ClusterUnderLoad } from './cluster-under-load.ts'
import { HistoryOfOwners } from './history-of-owners.ts'
import { Killer } from './killer.ts'

export interface MovesOptions {
  /** At least so long; the round of commands that runs then is finished. */
  readonly seconds: number
  /** Shards that each round moves one by one. */
  readonly moves: number
  /** Between two kills; undefined: none. */
  readonly killEveryMs?: number
}

const mover = 'g3'

export async function moves(load: ClusterUnderLoad, random: SeededRandom, options: MovesOptions): Promise<Record<string, number | string>> {
  const admin = new AdminCli(load.cluster)
  const killer = new Killer(load.cluster.ready.controllers, random)
  const killing = options.killEveryMs === undefined ? undefined : killer.run({ everyMs: options.killEveryMs, order: 'in turn' })
  const history = new HistoryOfOwners(load.cluster.ready.controllers)
  const end = performance.now() + options.seconds * 1000
  let rounds = 0
  try {
    do {
      await round(admin, history, random, options.moves)
      rounds++
    } while (performance.now() < end)
    killer.stop()
    await killing
    await delay(1000)
    const migrations = await ended(admin)
    const checked = await history.check()
    return { rounds, ...killer.figures(), ...figures(migrations), configs: checked, repeatedCommands: admin.repeated }
  } finally {
    killer.stop()
    await killing
    killer.close()
    history.close()
  }
}

/** leave, join, some moves, unpin of what was moved, rebalance; after each what has moved must be what had to move. */
async function round(admin: AdminCli, history: HistoryOfOwners, random: SeededRandom, count: number): Promise<void> {
  const commands = new Commands(admin, history, await admin.config())
  await leave(commands, admin)
  await commands.give(
    'join',
    () => admin.join(mover),
    (moved, after) => {
      const strays = [...moved].filter((shard) => after.assignment[shard] !== mover)
      return strays.length === 0 ? unfair(after) : `shards ${strays} moved, but not to ${mover}`
    },
  )
  const pinned = new Set<number>()
  for (let i = 0; i < count; i++) pinned.add(await moveOne(commands, admin, random))
  for (const shard of pinned) {
    await commands.give(
      `unpin ${shard}`,
      () => admin.unpin(shard),
      (moved) => (moved.size === 0 ? '' : `${[...moved]} moved`),
    )
  }
  const least = leastMoves(commands.config)
  await commands.give(
    'rebalance',
    () => admin.rebalance(),
    (moved, after) =>
      moved.size < least + Object.keys(after.groups).length ? unfair(after) : `${moved.size} shards moved, ${least} had to`,
  )
}

async function leave(commands: Commands, admin: AdminCli): Promise<void> {
  const own = new Set(commands.config.assignment.flatMap((group, shard) => (group === mover ? [shard] : [])))
  await commands.give(
    'leave',
    () => admin.leave(mover),
    (moved, after) => {
      if (after.groups[mover] !== undefined) return `${mover} is still there`
      const isOwn = moved.size === own.size && [...moved].every((shard) => own.has(shard))
      return isOwn ? '' : `${moved.size} shards moved, ${mover} had ${own.size}`
    },
  )
}

async function moveOne(commands: Commands, admin: AdminCli, random: SeededRandom): Promise<number> {
  const { config } = commands
  const shard = random.below(config.shardCount)
  const groups = Object.keys(config.groups).filter((group) => group !== config.assignment[shard])
  const group = groups[random.below(groups.length)] ?? mover
  await commands.give(
    `move ${shard} ${group}`,
    () => admin.move(shard, group),
    (moved, after) => (after.assignment[shard] === group && moved.size === 1 ? '' : `${[...moved]} moved`),
  )
  return shard
}

/** Gives commands one after the other and judges what each has moved. */
class Commands {
  /** After the newest command. */
  config: ConfigJson
  readonly #admin: AdminCli
  readonly #history: HistoryOfOwners

  constructor(admin: AdminCli, history: HistoryOfOwners, config: ConfigJson) {
    this.#admin = admin
    this.#history = history
    this.config = config
  }

  /** `judge`: what is wrong, or ''. */
  async give(
    what: string,
    command: () => Promise<unknown>,
    judge: (moved: ReadonlySet<number>, after: ConfigJson) => string,
  ): Promise<void> {
    const before = this.config
    await command()
    this.config = await this.#admin.config()
    const moved = changed(before, this.config)
    const fault = judge(moved, this.config)
    if (fault !== '') throw new Error(`${what}: ${fault}`)
    this.#history.expect(before.number, this.config.number, moved, what)
  }
}

function changed(before: ConfigJson, after: ConfigJson): Set<number> {
  const moved = new Set<number>()
  for (const [shard, group] of after.assignment.entries()) if (group !== before.assignment[shard]) moved.add(shard)
  return moved
}

function countsOf(config: ConfigJson): Map<string, number> {
  const counts = new Map(Object.keys(config.groups).map((group) => [group, 0]))
  for (const group of config.assignment) if (group !== null) counts.set(group, (counts.get(group) ?? 0) + 1)
  return counts
}

/** Which group is more than one shard off its share; '': none. */
function unfair(config: ConfigJson): string {
  const counts = countsOf(config)
  const share = config.shardCount / counts.size
  const off = [...counts].filter(([, count]) => count < Math.floor(share) || count > Math.ceil(share))
  return off.length === 0 ? '' : `shares are ${JSON.stringify([...counts])}`
}

/** How many shards must move until each group has the floor or the ceiling of its share. */
function leastMoves(config: ConfigJson): number {
  const counts = [...countsOf(config).values()]
  const share = config.shardCount / counts.length
  const over = counts.reduce((sum, count) => sum + Math.max(0, count - Math.ceil(share)), 0)
  const under = counts.reduce((sum, count) => sum + Math.max(0, Math.floor(share) - count), 0)
  return Math.max(over, under)
}

/** All migrations, when none runs any more. */
async function ended(admin: AdminCli): Promise<readonly MigrationJson[]> {
  const end = performance.now() + 60_000
  for (;;) {
    const migrations = await admin.migrations()
    const running = migrations.filter(({ phase }) => phase !== 'done' && phase !== 'aborted')
    if (running.length === 0) return migrations
    if (performance.now() > end) throw new Error(`still running: ${JSON.stringify(running)}`)
    await delay(500)
  }
}

function figures(migrations: readonly MigrationJson[]) {
  const done = migrations.filter(({ phase }) => phase === 'done')
  const pauses = done.map(({ pauseMs }) => pauseMs ?? 0).sort((a, b) => a - b)
  const rounded = (ms = 0) => Math.round(ms * 10) / 10
  return {
    migrations: done.length,
    aborted: migrations.length - done.length,
    shardsMoved: done.reduce((sum, { shards }) => sum + shards.length, 0),
    pauseMedianMs: rounded(pauses[Math.floor(pauses.length / 2)]),
    pauseMaxMs: rounded(pauses.at(-1)),
  }
}
