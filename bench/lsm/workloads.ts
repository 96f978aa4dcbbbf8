import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { build, type Histogram } from 'hdr-histogram-js'
import { SeededRandom } from '../../base/random.ts'
import { closedLoop, type LoopResult } from '../closed-loop.ts'
import { keyOf, type Shape, userBytes, valueAt } from './records.ts'
import { openStore, type Record, type SideName, type Store } from './stores.ts'

/** What one process does to one store; figures by name. */

export interface Spec {
  readonly side: SideName
  readonly folder: string
  readonly shape: Shape
  readonly writeBufferBytes: number
  readonly cacheBytes: number
  readonly work: Work
}

export type Work =
  | { readonly kind: 'fill' }
  /** Each record of a fill once more, with another value, in another order; then everything is compacted. */
  | { readonly kind: 'overwrite' }
  /** On what a fill has left. `warm` records are read again and again. */
  | { readonly kind: 'hot'; readonly warm: number; readonly seconds: number }
  | { readonly kind: 'misses'; readonly seconds: number; readonly dropsPageCache: boolean }
  | { readonly kind: 'scans'; readonly seconds: number }
  | { readonly kind: 'mix'; readonly seconds: number }
  /** Opens what is there and reads `queries` records. */
  | { readonly kind: 'open'; readonly queries: number }
  /** Writes so many records again and is killed with -9: no results. */
  | { readonly kind: 'crash'; readonly writes: number }

export type Results = { readonly [name: string]: number }

const batchRecords = 100
const inFlight = 64
const scanRecords = 100
const seed = 7
const pageBytes = 4096
/** Of the reads that the page cache was to answer. */
const fromDiskShareMax = 0.005
const triesMax = 5

export async function run(spec: Spec): Promise<Results> {
  const beganMs = performance.now()
  const store = await openStore(spec.side, { ...spec, watchesMemory: spec.work.kind === 'open' })
  const openMs = performance.now() - beganMs
  try {
    return { openMs, ...(await perform(store, spec)) }
  } finally {
    await store.close()
  }
}

function perform(store: Store, spec: Spec): Promise<Results> {
  switch (spec.work.kind) {
    case 'fill':
      return fill(store, spec)
    case 'overwrite':
      return overwrite(store, spec)
    case 'hot':
      return hot(store, spec.shape, spec.work)
    case 'misses':
      return misses(store, spec, spec.work)
    case 'scans':
      return scans(store, spec, spec.work.seconds)
    case 'mix':
      return mix(store, spec.shape, spec.work.seconds)
    case 'open':
      return query(store, spec, spec.work.queries)
    case 'crash':
      return crash(store, spec.shape, spec.work.writes)
  }
}

async function fill(store: Store, spec: Spec): Promise<Results> {
  return await putAll(store, spec, (n) => ({ key: keyOf(n), value: valueAt(n, spec.shape.valueBytes) }))
}

async function overwrite(store: Store, spec: Spec): Promise<Results> {
  const { shape, folder } = spec
  const order = shuffled(shape.records)
  const results = await putAll(store, spec, (n) => ({ key: keyOf(order[n] as number), value: valueAt(n + 1, shape.valueBytes) }))
  await store.compact()
  await store.drained()
  return { ...results, compactedSpaceAmplification: bytesOf(folder) / userBytes(shape) }
}

/** As many records as the shape has, in batches, and what that took. */
async function putAll(store: Store, { shape, folder }: Spec, recordAt: (n: number) => Omit<Record, 'type'>): Promise<Results> {
  const { records } = shape
  const latencies = histogram()
  const delays = watchLoop()
  const startMs = performance.now()
  for (let first = 0; first < records; first += batchRecords) {
    const batch: Record[] = []
    for (let n = first; n < Math.min(records, first + batchRecords); n++) batch.push({ type: 'put', ...recordAt(n) })
    const beganMs = performance.now()
    await store.putAll(batch)
    record(latencies, beganMs)
  }
  const filledMs = performance.now() - startMs
  const delayMs = delays()
  const drainedMs = (await store.drained()) - startMs
  return {
    perSecond: (records / filledMs) * 1000,
    drainedPerSecond: (records / drainedMs) * 1000,
    p50Ms: latencies.getValueAtPercentile(50) / 1000,
    p999Ms: latencies.getValueAtPercentile(99.9) / 1000,
    maxMs: latencies.maxValue / 1000,
    loopDelayMs: delayMs,
    spaceAmplification: bytesOf(folder) / userBytes(shape),
    writeAmplification: ioCount('wchar') / userBytes(shape),
  }
}

/** The numbers below `count` in random order. */
function shuffled(count: number): Uint32Array {
  const random = new SeededRandom(seed)
  const order = Uint32Array.from({ length: count }, (_, i) => i)
  for (let i = count - 1; i > 0; i--) {
    const j = random.below(i + 1)
    const moved = order[i] as number
    order[i] = order[j] as number
    order[j] = moved
  }
  return order
}

async function hot(store: Store, { records }: Shape, { warm, seconds }: { warm: number; seconds: number }): Promise<Results> {
  const random = new SeededRandom(seed)
  const keys = Array.from({ length: warm }, () => keyOf(random.below(records)))
  const pick = () => keys[random.below(warm)] as Buffer
  for (const key of keys) await mustGet(store, key)
  const get = await loops(seconds, () => mustGet(store, pick()))
  let operations = 0
  const startMs = performance.now()
  const endMs = startMs + seconds * 1000
  while (performance.now() < endMs) {
    for (let i = 0; i < 1000; i++) if (store.getSync(pick()) === undefined) throw new Error('a record is missing')
    operations += 1000
  }
  return { getPerSecond: get.perSecond, getP99Ms: get.p99, getSyncPerSecond: (operations / (performance.now() - startMs)) * 1000 }
}

async function misses(
  store: Store,
  spec: Spec,
  { seconds, dropsPageCache }: { seconds: number; dropsPageCache: boolean },
): Promise<Results> {
  const { records } = spec.shape
  const random = new SeededRandom(seed)
  const read = () => loops(seconds, () => mustGet(store, keyOf(random.below(records))))
  if (!dropsPageCache) return await pageCached(spec.folder, read)
  dropCaches()
  const get = await read()
  return { getPerSecond: get.perSecond, getP99Ms: get.p99 }
}

/**
 * A system may take the page cache away at any time (some do what has not been mapped lately, also with most of the memory free): what was then read
 * from the disk says nothing of a page cache. So it is measured again until nearly nothing came from the disk; else the try with the least counts.
 */
async function pageCached(folder: string, read: () => Promise<LoopResult>): Promise<Results> {
  let best: { readonly get: LoopResult; readonly share: number } | undefined
  let tries = 0
  do {
    bringIn(folder)
    const before = ioCount('read_bytes')
    const get = await read()
    const share = (ioCount('read_bytes') - before) / pageBytes / get.operations
    tries++
    if (best === undefined || share < best.share) best = { get, share }
  } while (best.share > fromDiskShareMax && tries < triesMax)
  return { getPerSecond: best.get.perSecond, getP99Ms: best.get.p99, fromDiskPercent: best.share * 100, tries }
}

async function scans(store: Store, { folder, shape: { records } }: Spec, seconds: number): Promise<Results> {
  const random = new SeededRandom(seed)
  bringIn(folder)
  const startMs = performance.now()
  const full = await store.scan(undefined, Number.POSITIVE_INFINITY)
  const fullMs = performance.now() - startMs
  if (full.records !== records) throw new Error(`${full.records} records were found, not ${records}`)
  let found = 0
  const beganMs = performance.now()
  const endMs = beganMs + seconds * 1000
  while (performance.now() < endMs) found += (await store.scan(keyOf(random.below(records)), scanRecords)).records
  return { fullPerSecond: (full.records / fullMs) * 1000, shortPerSecond: (found / (performance.now() - beganMs)) * 1000 }
}

/** Half reads, half writes, over what is there. */
async function mix(store: Store, { records, valueBytes }: Shape, seconds: number): Promise<Results> {
  const random = new SeededRandom(seed)
  const delays = watchLoop()
  const { perSecond, p99, p999, max } = await loops(seconds, async () => {
    const n = random.below(records)
    if (random.below(2) === 0) await mustGet(store, keyOf(n))
    else await store.put(keyOf(n), valueAt(random.below(records), valueBytes))
  })
  return { perSecond, p99Ms: p99, p999Ms: p999, maxMs: max, loopDelayMs: delays() }
}

async function query(store: Store, { shape: { records }, cacheBytes }: Spec, queries: number): Promise<Results> {
  const random = new SeededRandom(seed)
  let left = queries
  const worker = async () => {
    while (left-- > 0) await mustGet(store, keyOf(random.below(records)))
  }
  await Promise.all(Array.from({ length: inFlight }, worker))
  const now = memoryNow(store, cacheBytes)
  const compactions = store.compactions()
  await store.drained()
  return {
    ...now,
    maxRssMiB: process.resourceUsage().maxRSS / 1024,
    settledBesideMiB: memoryNow(store, cacheBytes).besideMiB,
    compactions,
    settledCompactions: store.compactions(),
  }
}

/** What is resident, and how much of it is neither cache nor memtables nor a worker's. */
function memoryNow(store: Store, cacheBytes: number): { rssMiB: number; memtableMiB: number; workersMiB: number; besideMiB: number } {
  const rss = process.memoryUsage.rss()
  const memtableBytes = store.memtableMemoryBytes()
  const workerBytes = store.workerMemoryBytes()
  return {
    rssMiB: rss / 2 ** 20,
    memtableMiB: memtableBytes / 2 ** 20,
    workersMiB: workerBytes / 2 ** 20,
    besideMiB: (rss - cacheBytes - memtableBytes - workerBytes) / 2 ** 20,
  }
}

async function crash(store: Store, { records, valueBytes }: Shape, writes: number): Promise<Results> {
  const random = new SeededRandom(seed)
  for (let first = 0; first < writes; first += batchRecords) {
    const batch: Record[] = []
    for (let i = 0; i < batchRecords; i++) {
      const n = random.below(records)
      batch.push({ type: 'put', key: keyOf(n), value: valueAt(n, valueBytes) })
    }
    await store.putAll(batch)
  }
  process.kill(process.pid, 'SIGKILL')
  // The signal comes before the next turn.
  return await new Promise<never>(() => undefined)
}

/** 64 calls under way for so long. Rejects with the first failure: none may fail. */
async function loops(seconds: number, call: () => Promise<void>): Promise<LoopResult> {
  let failure: unknown
  const result = await closedLoop(inFlight, seconds, () =>
    call().catch((error: unknown) => {
      failure ??= error
    }),
  )
  if (failure !== undefined) throw failure
  return result
}

async function mustGet(store: Store, key: Buffer): Promise<void> {
  if ((await store.get(key)) === undefined) throw new Error(`record ${key.toString('latin1')} is missing`)
}

function histogram(): Histogram {
  return build({ lowestDiscernibleValue: 1, highestTrackableValue: 600_000_000, numberOfSignificantValueDigits: 3 })
}

function record(latencies: Histogram, beganMs: number): void {
  latencies.recordValue(Math.max(1, Math.round((performance.now() - beganMs) * 1000)))
}

/** The returned function ends it: by how much the event loop was late, p99, ms. */
function watchLoop(): () => number {
  const resolution = 1
  const monitor = monitorEventLoopDelay({ resolution })
  monitor.enable()
  return () => {
    monitor.disable()
    return Math.max(0, monitor.percentile(99) / 1e6 - resolution)
  }
}

function filesOf(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name))
}

/** Has the page cache hold all files: once, so that what was read last is not what it lacks. */
function bringIn(folder: string): void {
  for (const file of filesOf(folder)) readUnlessGone(file)
}

/** What is compacted meanwhile takes files away. */
function readUnlessGone(file: string): void {
  try {
    readFileSync(file)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
}

function bytesOf(folder: string): number {
  return filesOf(folder).reduce((sum, file) => sum + (statSync(file, { throwIfNoEntry: false })?.blocks ?? 0) * 512, 0)
}

/** Of this process, with all its threads: `wchar` is what it has given to the system to write, `read_bytes` what came from a disk. NaN where the system does not tell. */
function ioCount(name: 'wchar' | 'read_bytes'): number {
  try {
    return Number(new RegExp(`^${name}: (\\d+)`, 'm').exec(readFileSync('/proc/self/io', 'utf8'))?.[1])
  } catch {
    return Number.NaN
  }
}

/** Needs root, on Linux. */
function dropCaches(): void {
  writeFileSync('/proc/sys/vm/drop_caches', '3')
}
