/**
 * The scenarios of MIT's lab about the shard controller (4A of 2023: TestBasic and TestMulti; shardcfg and InitQuery of 2025), told again over three
 * simulated controllers. Groups have one replica each here: all is about the config. Corrected: what a join or a leave may move is checked against the
 * groups that are there (the lab's loops go over other ids and check nothing), by every config that there was; shards move to who joins and from who
 * leaves and nowhere else, each once, and no more of them than the shares ask for.
 */
import { describe, expect, it } from 'vitest'
import { must } from '../../base/assert.ts'
import type { Config } from '../../proto/config.ts'
import { nameOf, ownersIn, ShardLab, shardCount } from './shard-lab.ts'
import { World } from './world.ts'

const seeds = process.env.OSTRAKA_MIT_FULL === '1' ? [1, 2, 3, 4, 5] : [1]
const timeout = 120_000
const adminOptions = { timeoutMs: 30_000 }

function open(seed: number, gids: readonly number[]): ShardLab {
  return new ShardLab(new World({ seed }), { gids, form: 'single' })
}

/** All configs from `from` to the newest. */
async function history(lab: ShardLab, from: number): Promise<Config[]> {
  const configs: Config[] = []
  for (let number = from; number <= lab.config.number; number++) configs.push(await lab.query(number))
  return configs
}

/** Each step of the history from one owner to the next: `[shard, from, to]`. */
function movesOf(configs: readonly Config[]): (readonly [number, number | undefined, number | undefined])[] {
  return configs.slice(1).flatMap((config, at) => {
    const before = ownersIn(must(configs[at], 'the config before'))
    return ownersIn(config).flatMap((owner, shard) => (owner === before[shard] ? [] : [[shard, before[shard], owner] as const]))
  })
}

/** Joins one after the other and leaves again in that order: each moves as little as it can. */
async function joinAndLeave(lab: ShardLab, there: readonly number[], gids: readonly number[]): Promise<void> {
  const present = [...there]
  const change = async (ask: () => Promise<unknown>, gid: number, joins: boolean) => {
    const { number } = lab.config
    const had = lab.shardsOf(gid).length
    await ask()
    await lab.settled()
    lab.check(...present)
    const moves = movesOf(await history(lab, number))
    // The lab's rule with the ids that are there: to who joins, from who leaves.
    expect(moves.filter(([, from, to]) => (joins ? to : from) !== gid)).toEqual([])
    expect(new Set(moves.map(([shard]) => shard)).size).toBe(moves.length)
    if (joins) expect(moves.length).toBeLessThanOrEqual(Math.ceil(shardCount / present.length))
    else expect(moves.length).toBe(had)
  }
  for (const gid of gids) {
    present.push(gid)
    await change(() => lab.join(gid), gid, true)
  }
  for (const gid of gids) {
    present.splice(present.indexOf(gid), 1)
    await change(() => lab.leave(gid), gid, false)
  }
}

describe.each(seeds)('the shard controller of the lab, one group a command (seed %i)', { timeout }, (seed) => {
  it('has an empty config before any join (TestBasic; InitQuery5A)', async () => {
    const lab = open(seed, [1])
    const empty = await lab.query()
    expect(empty.groups).toEqual([])
    expect(ownersIn(empty)).toEqual(Array.from({ length: shardCount }))
    lab.observer.stop()
  })

  it('joins and leaves, keeps the lists of servers, and answers for each config of before while each controller in turn is down (TestBasic)', async () => {
    const lab = open(seed, [1, 2])
    const known: Config[] = []
    const remember = async () => {
      await lab.settled()
      known.push(...(await history(lab, known.length === 0 ? 1 : must(known.at(-1), 'a config').number + 1)))
    }
    await lab.join(1)
    await remember()
    lab.check(1)
    await lab.join(2)
    await remember()
    lab.check(1, 2)
    await lab.leave(1)
    await remember()
    lab.check(2)
    await lab.leave(2).then(
      () => expect.unreachable('the last group with shards leaves'),
      (error) => expect(error).toMatchObject({ code: 'FAILED_PRECONDITION' }),
    )
    // A join, and one for each shard that moved; a leave is two: it drains, and it is gone.
    expect(known.map(({ number }) => number)).toEqual(Array.from({ length: known.length }, (_, at) => at + 1))
    expect(known.length).toBe(1 + (1 + shardCount / 2) + (2 + shardCount / 2))
    for (const controller of lab.cluster.controllerNames) {
      lab.crashNode(controller)
      for (const config of known) expect(await lab.query(config.number)).toEqual(config)
      lab.cluster.restart(controller)
      await lab.ready()
    }
    await lab.finish()
  })

  it('moves a shard where it is told to, which stays there, whatever joins and evens out (TestBasic: Move)', async () => {
    const lab = open(seed, [503, 504, 505])
    await lab.join(503, 504)
    for (let shard = 0; shard < shardCount; shard++) {
      const { number } = lab.config
      await lab.move(shard, shard < shardCount / 2 ? 503 : 504)
      await lab.settled()
      expect(lab.config.number).toBeGreaterThan(number)
    }
    const wanted = Array.from({ length: shardCount }, (_, shard) => (shard < shardCount / 2 ? 503 : 504))
    expect(lab.owners).toEqual(wanted)
    await lab.join(505)
    await lab.world.settle(lab.admin.rebalance({ author: 'lab' }, adminOptions))
    await lab.settled()
    expect(lab.owners).toEqual(wanted)
    await lab.finish()
  })

  it('ten clerks at once join one, join another and have the first leave again (TestBasic: concurrent)', async () => {
    const gids = Array.from({ length: 10 }, (_, i) => 100 + 10 * i)
    const lab = open(
      seed,
      gids.flatMap((gid) => [gid, gid + 1000]),
    )
    const clerk = async (gid: number, at: number) => {
      const admin = lab.cluster.admin(`admin${at}`)
      await lab.joining(admin, [gid + 1000])
      await lab.joining(admin, [gid])
      await lab.leaving(admin, gid + 1000)
      admin.close()
    }
    await lab.world.settle(Promise.all(gids.map(clerk)), 60_000)
    await lab.settled()
    lab.check(...gids)
    await lab.finish()
  })

  it('five join and leave, and none of the others gains or loses by it (TestBasic: minimal transfers)', async () => {
    const there = Array.from({ length: 3 }, (_, i) => 100 + i)
    const gids = Array.from({ length: 5 }, (_, i) => 1000 + i)
    const lab = open(seed, [...there, ...gids])
    await lab.join(...there)
    await lab.settled()
    await joinAndLeave(lab, there, gids)
    await lab.finish()
  })
})

describe.each(seeds)('the shard controller of the lab, several groups a command (seed %i)', { timeout }, (seed) => {
  it('joins and leaves two at once, and keeps the lists of servers (TestMulti)', async () => {
    const lab = open(seed, [1, 2, 3])
    await lab.join(1, 2)
    await lab.settled()
    lab.check(1, 2)
    await lab.join(3)
    await lab.settled()
    lab.check(1, 2, 3)
    await lab.leave(1, 3)
    await lab.settled()
    lab.check(2)
    await lab.finish()
  })

  it('ten clerks at once join three groups each and have two of them leave (TestMulti: concurrent)', async () => {
    const gids = Array.from({ length: 10 }, (_, i) => 100 + 10 * i)
    const lab = open(
      seed,
      gids.flatMap((gid) => [gid, gid + 1000, gid + 2000]),
    )
    const clerk = async (gid: number, at: number) => {
      const admin = lab.cluster.admin(`admin${at}`)
      await lab.joining(admin, [gid, gid + 1000, gid + 2000])
      await Promise.all([gid + 1000, gid + 2000].map((each) => lab.leaving(admin, each)))
      admin.close()
    }
    await lab.world.settle(Promise.all(gids.map(clerk)), 60_000)
    await lab.settled(120_000)
    lab.check(...gids)
    await lab.finish()
  })

  it('of groups that join and leave together, none of those that stay gains or loses more than its share asks for (TestMulti: minimal transfers)', async () => {
    const there = [100, 101]
    const gids = [1000, 1001, 1002]
    const lab = open(seed, [...there, ...gids])
    await lab.join(...there)
    await lab.settled()
    const begun = lab.config.number
    await lab.join(...gids)
    await lab.settled()
    lab.check(...there, ...gids)
    const joined = movesOf(await history(lab, begun))
    expect(joined.filter(([, from, to]) => !gids.includes(to ?? 0) || !there.includes(from ?? 0))).toEqual([])
    const { number } = lab.config
    const kept = there.map((gid) => lab.shardsOf(gid))
    await lab.leave(...gids)
    await lab.settled()
    lab.check(...there)
    // Asked for one by one, so that one that leaves later may have taken a shard of one before lab.
    expect(movesOf(await history(lab, number)).filter(([, from]) => there.includes(from ?? 0))).toEqual([])
    for (const [at, gid] of there.entries()) expect(lab.shardsOf(gid)).toEqual(expect.arrayContaining(must(kept[at], 'what it had')))
    await lab.finish()
  })

  it('the config is the same after each of three leaders is shut down (TestMulti: fail-over)', async () => {
    const lab = open(seed, [1, 2, 3])
    await lab.join(1, 2, 3)
    await lab.settled()
    for (let round = 0; round < 3; round++) {
      const leader = must(lab.cluster.controllerLeader(), 'a leader')
      const before = await lab.query()
      lab.crashNode(leader)
      const after = await lab.query()
      expect(after).toEqual(before)
      expect(after.groups.map(({ name }) => name)).toEqual([1, 2, 3].map(nameOf))
      expect(lab.cluster.controllerLeader()).not.toBe(leader)
      lab.cluster.restart(leader)
      await lab.ready()
    }
    await lab.finish()
  })
})
