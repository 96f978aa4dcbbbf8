#!/usr/bin/env node
/**
 * Real processes, real sockets, real disks, and all that can happen to them, under load from clients whose history is checked.
 *
 *   npm run chaos -- --seconds 60                          all kinds of faults, one after the other
 *   npm run chaos -- --scenario partitions --seconds 60    only those of links; see --help for the others
 *
 * Each scenario passes when the history is linearizable and every acknowledged write is there, no call failed, all replicas of a group hold
 * the same state in the end, no process ended by itself, and what it measures is within its limits. docs/testing.md says which.
 */
import { Command } from 'commander'
import { Interrupted } from './interrupt.ts'
import { type Run, type Scenario, scenarios } from './scenarios/scenarios.ts'

interface Options {
  readonly seconds: string
  readonly rounds?: string
  readonly every?: string
  readonly moves: string
  readonly seed?: string
  readonly scenario: string
}

type Outcome = 'passed' | 'failed' | 'skipped'

async function play(name: string, scenario: Scenario, run: Run): Promise<Outcome> {
  console.log(`${name}: seed ${run.seed}`)
  const reason = await scenario.skipReason?.()
  if (reason !== undefined) {
    console.log(`${name} SKIPPED: ${reason}`)
    return 'skipped'
  }
  try {
    console.log(`${name}: ${JSON.stringify(await scenario.play(run))}`)
    return 'passed'
  } catch (error) {
    // What it was about to do goes on in vain: its cluster is gone.
    if (error instanceof Interrupted) process.exit(1)
    console.log(`${name} FAILED: ${error instanceof Error ? error.message : String(error)}`)
    return 'failed'
  }
}

async function main(options: Options): Promise<void> {
  const run: Run = {
    seed: Number(options.seed ?? Math.floor(Math.random() * 2 ** 31)),
    seconds: Number(options.seconds),
    moves: Number(options.moves),
    ...(options.every === undefined ? {} : { everyMs: Number(options.every) }),
    ...(options.rounds === undefined ? {} : { rounds: Number(options.rounds) }),
  }
  const outcomes: Outcome[] = []
  for (const name of options.scenario.split(',')) {
    const scenario = scenarios[name]
    if (scenario === undefined) throw new Error(`unknown scenario ${name}; known: ${Object.keys(scenarios).join(', ')}`)
    outcomes.push(await play(name, scenario, run))
  }
  const count = (outcome: Outcome) => outcomes.filter((each) => each === outcome).length
  console.log(`${count('passed')} passed, ${count('failed')} failed, ${count('skipped')} skipped`)
  process.exitCode = count('failed') === 0 ? 0 : 1
}

await new Command('chaos')
  .description('does real harm to real processes under load, and checks what clients saw')
  .option('--seconds <n>', 'how long faults are made or shards moved; source-dies: how long the source is away', '30')
  .option('--every <ms>', 'leaders, moves-kills: time between two kills (default: 5000); moves-each-second, the same (default: 3000)')
  .option('--moves <n>', 'moves: how many shards each round moves one by one', '20')
  .option('--rounds <n>', 'everything, transfer, kill-timing, replace, a-b-a: how often')
  .option('--scenario <names>', `some of ${Object.keys(scenarios).join(', ')}; with commas between`, 'mixed')
  .option('--seed <n>', 'for the choice of faults and the load')
  .action(main)
  .parseAsync()
