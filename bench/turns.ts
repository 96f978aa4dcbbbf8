#!/usr/bin/env node
/**
 * The longest turns that a group's state machine takes on a move's way: commands of small values that are replayed, and tables of sessions that are written
 * down before a cut and read after an ingest. Source and target are in this process, without a network; a turn is what lies between two looks at
 * the loop, so that of everything that runs in it.
 *
 *   npm run bench:turns                       # 1 MiB of values of 100 B; 4,096 sessions of 64 replies; the median of five runs
 *   npm run bench:turns -- --runs 1 --sessions 1000
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Table from 'cli-table3'
import { Command } from 'commander'
import { joinPath, makeFolderDurably } from '../base/file-system.ts'
import type { Seams } from '../base/seams.ts'
import { serverSeams } from '../cli/server-seams.ts'
import { OstrakaError } from '../proto/errors.ts'
import { pb } from '../proto/messages.ts'
import { encodeBirth, encodeMigration, encodeWrite } from '../shardserver/entry.ts'
import type { GroupStateMachine } from '../shardserver/group-state-machine.ts'
import { LoneReplica } from './lone-replica.ts'
import { median } from './median.ts'

interface Options {
  readonly delta: string
  readonly value: string
  readonly together: string
  readonly sessions: string
  readonly replies: string
  readonly runs: string
}

const MiB = 1024 * 1024
const moving = 1
const names = { id: 7, shards: [moving] }

/** Links the files of the source's cut, and holds them. */
async function copyCut({ fileSystem }: Seams, source: LoneReplica, target: LoneReplica) {
  const request = pb.v1.OpenFilesRequest.create({ export: { migration: names.id, attempt: 1 } })
  const folder = target.machine.importFolder(names.id, 1)
  for (;;) {
    try {
      const set = await source.machine.exports.open(request)
      await makeFolderDurably(fileSystem, folder)
      for (const { name } of set.files) await fileSystem.link(joinPath(set.folder, name), joinPath(folder, name))
      return await target.machine.stageImport(names.id, 1, set)
    } catch (error) {
      if (!(error instanceof OstrakaError) || error.code !== 'UNAVAILABLE') throw error
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }
}

/** What was found of each step, over the runs. */
class Findings {
  readonly #byStep = new Map<string, { turnsMs: number[]; tookMs: number[] }>()

  /** The longest turn until `work` is done, ms. What it does before it first waits counts as one. */
  async watch(step: string, work: () => Promise<unknown>): Promise<void> {
    const beganMs = performance.now()
    let lastMs = beganMs
    let longestMs = 0
    let isDone = false
    const look = () => {
      const nowMs = performance.now()
      longestMs = Math.max(longestMs, nowMs - lastMs)
      lastMs = nowMs
      if (!isDone) setImmediate(look)
    }
    setImmediate(look)
    await work()
    isDone = true
    look()
    const found = this.#byStep.get(step) ?? { turnsMs: [], tookMs: [] }
    this.#byStep.set(step, found)
    found.turnsMs.push(longestMs)
    found.tookMs.push(performance.now() - beganMs)
  }

  print(): void {
    const table = new Table({ head: ['step', 'longest turn, ms: median', 'at most', 'took, ms: median'] })
    for (const [step, { turnsMs, tookMs }] of this.#byStep) {
      table.push([step, median(turnsMs).toFixed(1), Math.max(...turnsMs).toFixed(1), median(tookMs).toFixed(1)])
    }
    console.log(table.toString())
  }
}

function batchOf(client: number, commands: pb.v1.Command.$Properties[]): Uint8Array {
  const clientId = new Uint8Array(16).fill(9)
  new DataView(clientId.buffer).setUint32(0, client)
  return encodeWrite(0, pb.v1.WriteBatch.encode({ clientId, commands }).finish())
}

/** Puts of one client, `together` in each entry. */
function putsOf(count: number, together: number, valueBytes: number): Uint8Array[] {
  const entries: Uint8Array[] = []
  for (let at = 0; at < count; at += together) {
    const commands = Array.from({ length: Math.min(together, count - at) }, (_, i) => {
      const sequence = at + i + 1
      const put = {
        key: Buffer.from(`key-${String((sequence * 7919) % count).padStart(9, '0')}`),
        value: new Uint8Array(valueBytes).fill(sequence),
      }
      return { shard: moving, sequence, lowestOutstanding: sequence, first: true, put }
    })
    entries.push(batchOf(0, commands))
  }
  return entries
}

/** Each client has so many answers that it has not said it knows. */
async function fillSessions(replica: LoneReplica, sessions: number, replies: number): Promise<void> {
  for (let client = 1; client <= sessions; client++) {
    const commands = Array.from({ length: replies }, (_, i) => ({
      ...{ shard: moving, sequence: i + 1, lowestOutstanding: 1, first: true },
      put: { key: Buffer.from(`key-${client % 100}`), value: new Uint8Array(8) },
    }))
    await replica.apply(batchOf(client, commands))
  }
}

async function replayed(
  found: Findings,
  [source, target]: readonly [LoneReplica, LoneReplica],
  options: Options,
  together: number,
): Promise<void> {
  const writes = putsOf(Math.floor((Number(options.delta) * MiB) / Number(options.value)), together, Number(options.value))
  for (let at = 0; at < writes.length; at += 64) await source.apply(...writes.slice(at, at + 64))
  const what = `${together === 1 ? '1 command' : `${together} commands`} in an entry`
  let pieces = 0
  for (;;) {
    const after = target.machine.shardRecord(moving).cursor
    let piece: Awaited<ReturnType<GroupStateMachine['delta']>> | undefined
    await found.watch(`read a piece, ${what}`, async () => {
      piece = await source.machine.delta({ ...names, after, maxBytes: MiB })
    })
    if (piece?.kind !== 'delta') throw new Error(piece?.reason)
    let entry = new Uint8Array(0)
    const step = { kind: 'replay' as const, ...names, after, upTo: piece.upTo, deltas: piece.shards }
    await found.watch(`encode it, ${what}`, async () => {
      entry = Uint8Array.from(encodeMigration(0, step))
    })
    await found.watch(`replay it, ${what}`, () => target.apply(entry))
    pieces++
    if (piece.lag === 0) break
  }
  console.log(`${writes.length} entries came in ${pieces} pieces`)
}

async function withTwo(seams: Seams, work: (source: LoneReplica, target: LoneReplica) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'ostraka-turns-'))
  const [source, target] = [await LoneReplica.open(seams, join(folder, 'source')), await LoneReplica.open(seams, join(folder, 'target'))]
  try {
    await source.apply(encodeBirth(0, 1, [moving]))
    await target.step({ kind: 'import', ...names, attempt: 1, from: 'source@1' })
    await work(source, target)
  } finally {
    await source.machine.close()
    await target.machine.close()
    await rm(folder, { recursive: true, force: true })
  }
}

async function main(options: Options): Promise<void> {
  const seams = serverSeams('error', {})
  const found = new Findings()
  try {
    for (let run = 0; run < Number(options.runs); run++) {
      for (const together of [1, Number(options.together)]) {
        await withTwo(seams, async (source, target) => {
          await source.apply(...putsOf(1, 1, 8))
          await source.step({ kind: 'export', ...names, attempt: 1 })
          const { cut, digest } = await copyCut(seams, source, target)
          await target.step({ kind: 'ingest', ...names, attempt: 1, cut, digest })
          await replayed(found, [source, target], options, together)
        })
      }
      await withTwo(seams, async (source, target) => {
        await fillSessions(source, Number(options.sessions), Number(options.replies))
        await found.watch('cut, all sessions changed', () => source.step({ kind: 'export', ...names, attempt: 1 }))
        const { cut, digest } = await copyCut(seams, source, target)
        await found.watch('ingest, with the sessions', () => target.step({ kind: 'ingest', ...names, attempt: 1, cut, digest }))
        await fillSessions(source, Number(options.sessions), Number(options.replies))
        await found.watch('flush, all sessions changed', () => source.machine.flush())
      })
    }
    found.print()
  } finally {
    await seams.executor.close()
  }
}

await new Command('bench:turns')
  .option('--delta <MiB>', 'values that are replayed', '1')
  .option('--value <bytes>', 'size of a value', '100')
  .option('--together <number>', 'commands of one entry where there are many', '100')
  .option('--sessions <number>', 'clients of the shard', '4096')
  .option('--replies <number>', 'that each of them has not confirmed', '64')
  .option('--runs <number>', 'of all of it', '5')
  .action(main)
  .parseAsync()
