/**
 * A quick look at the storage engine, after `npm run build`: node dist/bench/lsm-quick.js [records] [value bytes]. Fill in batches of 100 random
 * keys without a WAL, flush and compaction inline; then gets and scans. Figures for orientation, not for `docs/benchmarks.md`.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { InlineExecutor } from '../base/inline-executor.ts'
import { silentLogger } from '../base/logger.ts'
import { NodeClock } from '../base/node-clock.ts'
import { NodeFileSystem } from '../base/node-file-system.ts'
import { SeededRandom } from '../base/random.ts'
import { BlockCache, Database, lsmJobs, WriteBatch } from '../lsm/index.ts'

const count = Number(process.argv[2] ?? 500_000)
const valueBytes = Number(process.argv[3] ?? 100)
const fileSystem = new NodeFileSystem()
const clock = new NodeClock()
const executor = new InlineExecutor(lsmJobs, { fileSystem, clock })
const random = new SeededRandom(1)

function keyOf(number: number): Uint8Array {
  const key = new Uint8Array(16)
  let rest = Math.imul(number, 0x9e3779b1) >>> 0
  for (let i = 15; i >= 0; i--) {
    key[i] = 48 + (rest % 10)
    rest = Math.floor(rest / 10)
  }
  return key
}

function report(what: string, operations: number, startMs: number): void {
  const ms = clock.monotonicMs() - startMs
  console.log(`${what.padEnd(24)} ${Math.round((operations / ms) * 1000)}/s, ${((ms * 1000) / operations).toFixed(2)} us each`)
}

async function fill(db: Database): Promise<void> {
  const value = random.bytes(valueBytes)
  const batch = new WriteBatch()
  for (let i = 0; i < count; i += 100) {
    batch.clear()
    for (let j = i; j < i + 100; j++) batch.put(keyOf(j), value)
    db.write(batch)
    if (db.wantsSeal) {
      const sealed = db.seal(new Uint8Array(1))
      if (db.stats().immutableMemtables > 1) await sealed
    }
    if (i % 10_000 === 0) await new Promise(setImmediate)
  }
}

async function getAll(db: Database, what: string, operations: number): Promise<void> {
  const start = clock.monotonicMs()
  let promises = 0
  for (let i = 0; i < operations; i++) {
    const value = db.get(keyOf(random.below(count)))
    if (value instanceof Promise) {
      promises++
      await value
    } else if (value === undefined) throw new Error('a record is missing')
  }
  report(`${what} (${promises} promises)`, operations, start)
}

async function main(): Promise<void> {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'ostraka-bench-'))
  try {
    const blockCache = new BlockCache(256 * 1024 * 1024)
    const db = await Database.open({
      fileSystem,
      clock,
      executor,
      logger: silentLogger,
      folder,
      wal: false,
      blockCache,
      memtableBytes: 16 * 1024 * 1024,
    })
    let start = clock.monotonicMs()
    await fill(db)
    report('fill', count, start)
    await getAll(db, 'get while compacting', count / 10)
    await db.seal(new Uint8Array(1))
    await db.settle()
    report('fill and drained', count, start)
    await getAll(db, 'get, first', count / 4)
    await getAll(db, 'get, then', count)
    await getAll(db, 'get, then', count)
    for (const reverse of [false, true]) {
      start = clock.monotonicMs()
      const iterator = db.iterate({ reverse })
      let records = 0
      for (let more = iterator.next(); more instanceof Promise ? await more : more; more = iterator.next()) records++
      report(reverse ? 'scan, reverse' : 'scan', records, start)
    }
    console.log(JSON.stringify(db.stats()))
    await db.close()
  } finally {
    rmSync(folder, { recursive: true })
  }
}

await main()
