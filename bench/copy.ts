#!/usr/bin/env node
/**
 * What the copy of a shard costs, without a cluster around it: export, transfer over gRPC on the loopback interface, check, ingest. Both ends are
 * in this process, so processor time is that of source and target together; that of the main thread, which serves, is told apart (Linux).
 *
 *   npm run bench:copy                      # 256 MiB of 4 KiB values, three copies
 *   npm run bench:copy -- --mib 64 --runs 1
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import Table from 'cli-table3'
import { Command } from 'commander'
import { SeededRandom } from '../base/random.ts'
import { serverSeams } from '../cli/server-seams.ts'
import { OstrakaError } from '../proto/errors.ts'
import { pb } from '../proto/messages.ts'
import { fetchFiles } from '../raft/file-fetch.ts'
import { FileServer } from '../raft/file-server.ts'
import { encodeBirth, encodeWrite } from '../shardserver/entry.ts'
import type { GroupStateMachine } from '../shardserver/group-state-machine.ts'
import { LoneReplica } from './lone-replica.ts'

interface Options {
  readonly mib: string
  readonly value: string
  readonly runs: string
  readonly seed: string
}

const MiB = 1024 * 1024
const ticksPerSecond = 100
const moving = 1
/** It shares memtables with the one that moves, as shards do. */
const staying = 2
const clusterId = new Uint8Array(16).fill(1)

/** Seconds: of the main thread, and of all. */
async function processorSeconds(): Promise<{ main: number; all: number }> {
  const stat = await readFile(`/proc/self/task/${process.pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const { user, system } = process.cpuUsage()
  return { main: (Number(fields[11]) + Number(fields[12])) / ticksPerSecond, all: (user + system) / 1e6 }
}

async function fill(replica: LoneReplica, bytes: number, valueBytes: number, random: SeededRandom): Promise<void> {
  await replica.apply(encodeBirth(0, 1, [moving, staying]))
  const count = Math.floor(bytes / valueBytes)
  const order = Array.from({ length: count }, (_, i) => i)
  for (let i = count - 1; i > 0; i--) {
    const j = random.below(i + 1)
    const kept = order[i] as number
    order[i] = order[j] as number
    order[j] = kept
  }
  let sequence = 0
  for (let at = 0; at < count; at += 64) {
    const commands = order.slice(at, at + 64).map((number, i) => {
      sequence++
      const put = { key: Buffer.from(`key-${String(number).padStart(9, '0')}`), value: random.bytes(valueBytes) }
      return { shard: i % 8 === 7 ? staying : moving, sequence, lowestOutstanding: sequence, first: true, put }
    })
    const batch = pb.v1.WriteBatch.encode({ clientId: new Uint8Array(16).fill(9), commands }).finish()
    await replica.apply(encodeWrite(0, batch))
  }
  await replica.machine.flush()
}

async function exported(machine: GroupStateMachine, id: number): Promise<void> {
  const request = pb.v1.OpenFilesRequest.create({ export: { migration: id, attempt: 1 } })
  for (;;) {
    try {
      await machine.exports.open(request)
      return
    } catch (error) {
      if (!(error instanceof OstrakaError) || error.code !== 'UNAVAILABLE') throw error
      await sleep(5)
    }
  }
}

async function main(options: Options): Promise<void> {
  console.log(`seed ${options.seed}`)
  const random = new SeededRandom(Number(options.seed))
  const seams = serverSeams('error', {})
  const folder = await mkdtemp(join(tmpdir(), 'ostraka-copy-'))
  const source = await LoneReplica.open(seams, join(folder, 'source'))
  const { clock, fileSystem, transport, logger } = seams
  const server = new FileServer({
    ...{ fileSystem, clock, logger, random: seams.random },
    onFailure: (error) => {
      throw error
    },
    clusterId: () => clusterId,
    snapshots: () => undefined,
    exports: () => source.machine.exports,
  })
  const listener = await transport.listen([{ name: 'default', address: '127.0.0.1:0' }], server.routes())
  const table = new Table({ head: ['run', 'step', 'ms', 'MiB/s', 'processor s, main thread', 'in all'] })
  try {
    // One shard in eight of what is written stays.
    await fill(source, (Number(options.mib) * MiB * 8) / 7, Number(options.value), random)
    // Compactions come to rest.
    await sleep(5000)
    for (let run = 1; run <= Number(options.runs); run++) {
      const target = await LoneReplica.open(seams, join(folder, `target-${run}`))
      const names = { id: run, shards: [moving] }
      await target.step({ kind: 'import', ...names, attempt: 1, from: 'source@1' })
      const begin = { at: performance.now(), ...(await processorSeconds()) }
      let last = begin
      const took = async (what: string, since = last) => {
        const now = { at: performance.now(), ...(await processorSeconds()) }
        const ms = now.at - since.at
        const rate = (Number(options.mib) * 1000) / ms
        table.push([run, what, ms.toFixed(0), rate.toFixed(0), (now.main - since.main).toFixed(2), (now.all - since.all).toFixed(2)])
        last = now
      }
      await source.step({ kind: 'export', ...names, attempt: 1 })
      await exported(source.machine, run)
      await took('export')
      const set = await fetchFiles({
        ...{ transport, clock, fileSystem, clusterId: () => clusterId },
        address: listener.addresses[0]?.address ?? '',
        request: { group: 'source@1', export: { migration: run, attempt: 1 } },
        folder: target.machine.importFolder(run, 1),
      })
      await took('transfer')
      const { cut, digest } = await target.machine.stageImport(run, 1, set)
      await took('check')
      await target.step({ kind: 'ingest', ...names, attempt: 1, cut, digest })
      await target.machine.flush()
      await took('ingest')
      await took('whole', begin)
      await source.step({ kind: 'outcome', ...names, outcome: 'aborted', epochs: [] })
      await target.machine.close()
    }
    console.log(table.toString())
  } finally {
    server.close()
    await listener.close(1000)
    await source.machine.close()
    await seams.executor.close()
    await rm(folder, { recursive: true, force: true })
  }
}

await new Command('bench:copy')
  .option('--mib <number>', 'size of the shard', '256')
  .option('--value <bytes>', 'size of a value', '4096')
  .option('--runs <number>', 'copies, one after the other', '3')
  .option('--seed <number>', 'of the values and their order', '1')
  .action(main)
  .parseAsync()
