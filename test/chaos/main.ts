#!/usr/bin/env node
/**
 * Real processes, killed for real, under load from clients whose history is checked.
 *
 *   npm run chaos -- --seconds 60                          kill -9 of a leader every 5 s, then of everything at once
 *   npm run chaos -- --seconds 60 --scenario leaders
 *   npm run chaos -- --scenario everything --rounds 5
 *   npm run chaos -- --seconds 60 --scenario moves         leave, join, 20 moves, unpin, rebalance by the command line
 *   npm run chaos -- --seconds 180 --scenario moves-kills  the same, with kill -9 of a leader that takes part every 5 s
 *
 * Each scenario passes when the history is linearizable (so every acknowledged write is there), no call failed, and all replicas of a group
 * hold the same state in the end.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { Command } from 'commander'
import { SeededRandom } from '../../base/random.ts'
import { Up } from '../../testing/up.ts'
import { ClusterUnderLoad } from './cluster-under-load.ts'
import { moves } from './moves.ts'

interface Options {
  readonly seconds: string
  readonly rounds: string
  readonly every: string
  readonly moves: string
  readonly seed?: string
  readonly scenario: string
}

const deadlineMs = 30_000

interface Figures {
  readonly [name: string]: number | string
}

/** kill -9 of the leader of a random group, now and then of the controllers' leader, every few seconds. */
async function leaders(load: ClusterUnderLoad, random: SeededRandom, seconds: number, everyMs: number): Promise<Figures> {
  const resumesMs: number[] = []
  const end = performance.now() + seconds * 1000
  let controllers = 0
  while (performance.now() < end) {
    await delay(everyMs)
    const status = await load.status()
    if (random.next() < 0.2) {
      const pid = status.controllers.find(({ role }) => role === 'leader')?.pid ?? 0
      if (pid > 0) process.kill(pid, 'SIGKILL')
      controllers++
      continue
    }
    const names = Object.keys(status.groups)
    const name = names[random.below(names.length)] ?? ''
    const node = status.nodes.find(({ id, live }) => live && id === status.groups[name]?.leader)
    if (node === undefined) continue
    const key = await keyOf(load, name)
    process.kill(node.pid, 'SIGKILL')
    const killedMs = performance.now()
    await load.client.put(key, 'probe')
    resumesMs.push(performance.now() - killedMs)
  }
  resumesMs.sort((a, b) => a - b)
  return {
    kills: resumesMs.length + controllers,
    ofControllers: controllers,
    resumeMedianMs: Math.round(resumesMs[Math.floor(resumesMs.length / 2)] ?? 0),
    resumeMaxMs: Math.round(resumesMs.at(-1) ?? 0),
  }
}

/** A key that no client of the workload uses, in a shard of `group`. */
async function keyOf(load: ClusterUnderLoad, group: string): Promise<string> {
  for (let i = 0; ; i++) {
    const key = `probe-${i}`
    if ((await load.client.explain(key)).group === group) return key
  }
}

/** kill -9 of every process at once, and a start on the same data. */
async function everything(load: ClusterUnderLoad, rounds: number): Promise<Figures> {
  const readyMs: number[] = []
  for (let round = 0; round < rounds; round++) {
    await delay(3000)
    await load.up.killAll()
    const start = performance.now()
    await load.up.restart()
    readyMs.push(performance.now() - start)
  }
  await delay(1000)
  readyMs.sort((a, b) => a - b)
  return { rounds, readyMedianMs: Math.round(readyMs[Math.floor(readyMs.length / 2)] ?? 0), readyMaxMs: Math.round(readyMs.at(-1) ?? 0) }
}

async function scenario(name: string, seed: number, act: (load: ClusterUnderLoad) => Promise<Figures>): Promise<boolean> {
  console.log(`${name}: seed ${seed}`)
  const up = await Up.start()
  try {
    const load = new ClusterUnderLoad(up, { seed, clients: 8, keys: 150, deadlineMs, uniqueWrites: { perSecond: 50, keys: 20_000 } })
    await load.start()
    const figures = await Promise.race([act(load), load.failed])
    await load.stop()
    const replicas = await load.compareReplicas()
    const operations = load.check()
    const { ok, failed, unknown, lastError } = load.workload.counts
    const unique = load.uniqueWrites
    const writes = { uniqueWrites: unique.acknowledged, readBack: unique.readBack, longestWriteGapMs: Math.round(unique.longestGapMs) }
    const failures = failed + unknown + unique.failed
    console.log(
      `${name}: ${JSON.stringify({ ...figures, operations, answered: ok, ...writes, failed: failures, equalReplicas: replicas })}`,
    )
    if (failures > 0) console.log(`${name} FAILED: ${failures} calls failed, one of the last with: ${lastError || unique.lastError}`)
    return failures === 0
  } catch (error) {
    console.log(`${name} FAILED: ${error instanceof Error ? error.message : String(error)}`)
    console.log(up.stderr.split('\n').slice(-20).join('\n'))
    return false
  } finally {
    await up.dispose()
  }
}

async function main(options: Options): Promise<void> {
  const seed = Number(options.seed ?? Math.floor(Math.random() * 2 ** 31))
  const random = new SeededRandom(seed)
  const seconds = Number(options.seconds)
  const everyMs = Number(options.every)
  const count = Number(options.moves)
  const known: Readonly<Record<string, (load: ClusterUnderLoad) => Promise<Figures>>> = {
    leaders: (load) => leaders(load, random, seconds, everyMs),
    everything: (load) => everything(load, Number(options.rounds)),
    moves: (load) => moves(load, random, { seconds, moves: count }),
    'moves-kills': (load) => moves(load, random, { seconds, moves: count, killEveryMs: everyMs }),
  }
  const names = options.scenario === 'all' ? ['leaders', 'everything'] : [options.scenario]
  const results: boolean[] = []
  for (const name of names) {
    const act = known[name]
    if (act === undefined) throw new Error(`unknown scenario ${name}; known: ${Object.keys(known).join(', ')}, all`)
    results.push(await scenario(name, seed, act))
  }
  const failed = results.filter((ok) => !ok).length
  console.log(`${results.length - failed} passed, ${failed} failed`)
  process.exitCode = failed === 0 ? 0 : 1
}

await new Command('chaos')
  .description('kills real processes under load and checks what clients saw')
  .option('--seconds <n>', 'how long leaders are killed or shards moved', '30')
  .option('--every <ms>', 'time between two kills', '5000')
  .option('--moves <n>', 'how many shards each round of moves moves one by one', '20')
  .option('--rounds <n>', 'how often everything is killed', '2')
  .option('--scenario <name>', 'leaders, everything, all (those two), moves or moves-kills', 'all')
  .option('--seed <n>', 'for the choice of victims and the load')
  .action(main)
  .parseAsync()
