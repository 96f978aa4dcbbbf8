#!/usr/bin/env node
/**
 * How long a fourth group's join takes on real processes: all of its shards, empty, moved to it and confirmed by both groups.
 *
 *   npm run bench:join                          # 16,384 shards: 4,096 move; fails at 10 s or more
 *   npm run bench:join -- --shards 4096 --most 5
 *   npm run bench:join -- --up --max-migrations,4   # flags for `ostraka up`, separated by commas
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { Command } from 'commander'
import type { MigrationJson } from '../cli/migration-json.ts'
import { Up } from '../testing/up.ts'
import { median } from './median.ts'

const toldMs = 7000

interface Options {
  readonly shards: string
  readonly most: string
  readonly up?: string
}

async function main(options: Options): Promise<void> {
  const shards = Number(options.shards)
  const up = await Up.start(['--shards', options.shards, ...(options.up?.split(',') ?? [])])
  try {
    const run = async (...words: string[]) => {
      const { code, stdout, stderr } = await up.run(['admin', ...words, '--json'])
      if (code !== 0) throw new Error(`admin ${words.join(' ')} ended with ${code}: ${stderr}`)
      return JSON.parse(stdout) as unknown
    }
    // The leaders of the groups tell every five seconds what their shards hold; of which nothing is known yet, few go together.
    await sleep(toldMs)
    const nodes = up.ready.nodes.map(({ id, address }) => `${id}=${address}`).join(',')
    const began = performance.now()
    await run('join', 'g4', '--nodes', nodes, '--wait', '--timeout', '120')
    const seconds = (performance.now() - began) / 1000
    const migrations = (await run('migrations')) as MigrationJson[]
    const moved = migrations.filter(({ phase }) => phase === 'done').reduce((sum, { shards: set }) => sum + set.length, 0)
    const pauses = migrations.map(({ pauseMs }) => pauseMs ?? Number.NaN)
    const times = migrations.map(({ startedAt, endedAt }) => Date.parse(endedAt ?? '') - Date.parse(startedAt))
    console.log(`${moved} shards in ${migrations.length} migrations: ${seconds.toFixed(1)} s`)
    console.log(
      `the last ended ${(Math.max(...times) / 1000).toFixed(1)} s after the join; pauses ${median(pauses).toFixed(1)} ms in the median, ${Math.max(...pauses).toFixed(1)} ms at most`,
    )
    const isWhole = moved === shards / 4
    const passed = isWhole && seconds < Number(options.most)
    if (!isWhole) console.log(`${shards / 4} shards were to move`)
    console.log(passed ? '1 passed, 0 failed' : '0 passed, 1 failed')
    if (!passed) process.exitCode = 1
  } finally {
    await up.dispose()
  }
}

await new Command('bench:join')
  .option('--shards <n>', 'of the cluster', '16384')
  .option('--most <seconds>', 'that the join may take', '10')
  .option('--up <flags>', 'for `ostraka up`, separated by commas')
  .action(main)
  .parseAsync()
