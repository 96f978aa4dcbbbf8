#!/usr/bin/env node
/**
 * What a cluster with nothing to do costs: processor time of each server process over a while, from /proc (Linux).
 *
 *   npm run bench:idle                                       # 64 groups on 3 nodes, 20 s; fails where a node costs 3 % of a core or more
 *   npm run bench:idle -- --groups 3 --seconds 10 --most 5   # others
 *   npm run bench:idle -- --first-puts 20                    # and how long the first put on a resting group takes
 *
 * Every group was written to before, so each has a log, a leader and something on its disk. Half a minute passes then: before that, V8 still
 * compiles what the start and the writes made hot, in threads of its own, which is no cost of a cluster at rest.
 */
import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import Table from 'cli-table3'
import { Command } from 'commander'
import { type Client, connect } from '../client/index.ts'
import { Up } from '../testing/up.ts'

interface Options {
  readonly groups: string
  readonly nodes: string
  readonly seconds: string
  readonly settle: string
  readonly most: string
  readonly firstPuts: string
}

/** The kernel's clock ticks per second: USER_HZ, 100 on every Linux that runs Node. */
const ticksPerSecond = 100

/** Processor time that a process has used since its start, user and system, seconds. */
async function cpuSeconds(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
  // The name, in brackets, may hold anything; utime and stime are fields 14 and 15.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond
}

/** Keys enough that every group holds some. */
async function writeEverywhere(db: Client, groups: number): Promise<void> {
  await db.putMany(Array.from({ length: 20 * groups }, (_, i) => [`idle/${i}`, `value ${i}`]))
}

/** Milliseconds of one put at a time, each to another key, with a rest between in which the groups go quiet again. */
async function firstPuts(db: Client, count: number): Promise<number[]> {
  const took: number[] = []
  for (let i = 0; i < count; i++) {
    await sleep(1500)
    const startMs = performance.now()
    await db.put(`idle/${7 * i}`, 'woken')
    took.push(performance.now() - startMs)
  }
  return took.sort((a, b) => a - b)
}

async function main(options: Options): Promise<void> {
  const groups = Number(options.groups)
  const seconds = Number(options.seconds)
  const up = await Up.start(['--nodes', options.nodes, '--groups', options.groups])
  const db = await connect({ controllers: up.ready.controllers, deadlineMs: 30_000 })
  try {
    await writeEverywhere(db, groups)
    const took = await firstPuts(db, Number(options.firstPuts))
    await db.close()
    await sleep(Number(options.settle) * 1000)
    const { nodes } = up.ready
    const before = await Promise.all(nodes.map(({ pid }) => cpuSeconds(pid)))
    await sleep(seconds * 1000)
    const after = await Promise.all(nodes.map(({ pid }) => cpuSeconds(pid)))
    const percent = nodes.map((_, i) => (100 * ((after[i] ?? 0) - (before[i] ?? 0))) / seconds)
    const table = new Table({ head: ['node', 'groups', '% of one core'] })
    for (const [i, { id }] of nodes.entries()) table.push([id, groups, (percent[i] ?? 0).toFixed(2)])
    console.log(table.toString())
    if (took.length > 0)
      console.log(`first put on a resting group: median ${middle(took).toFixed(1)} ms, most ${(took.at(-1) ?? 0).toFixed(1)} ms`)
    const worst = Math.max(...percent)
    const passed = worst < Number(options.most)
    console.log(`${passed ? 'passed' : 'FAILED'}: at most ${worst.toFixed(2)} % of one core, allowed are less than ${options.most} %`)
    if (!passed) process.exitCode = 1
  } finally {
    await db.close()
    await up.dispose()
  }
}

function middle(sorted: readonly number[]): number {
  return sorted[Math.floor(sorted.length / 2)] ?? 0
}

await new Command('bench:idle')
  .option('--groups <n>', 'groups, each with a replica on three nodes', '64')
  .option('--nodes <n>', 'shardservers', '3')
  .option('--seconds <n>', 'how long is measured', '20')
  .option('--settle <n>', 'seconds of rest before', '30')
  .option('--most <percent>', 'what a node may cost', '3')
  .option('--first-puts <n>', 'puts, each on a group that rests', '0')
  .action(main)
  .parseAsync()
