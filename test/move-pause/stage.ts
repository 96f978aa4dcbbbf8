/** A cluster whose one shard is filled, and what happens to it and to the others while that shard moves back and forth. */
import { cpus } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { must } from '../../base/assert.ts'
import { SeededRandom } from '../../base/random.ts'
import { type Client, connect } from '../../client/index.ts'
import { Up } from '../../testing/up.ts'
import { checkLinearizable, describeVerdict } from '../linearizability/checker.ts'
import { HistoryRecorder } from '../linearizability/history.ts'
import { type OstrakaInput, type OstrakaOutput, ostrakaModel } from '../linearizability/ostraka-model.ts'
import { type Move, Mover } from './mover.ts'
import { newLatencies, PacedLoad } from './paced-load.ts'
import { Precedence } from './precedence.ts'
import { Records } from './records.ts'

const MiB = 1024 * 1024
const valueBytes = 4096
const clientCount = 8
const fillInFlight = 64
const deadlineMs = 30_000
const warmMs = 5000
/** Around a switch: the pause lies in it, and as little else as may be. */
const beforeMs = 100
const afterMs = 1000
/** Behind a move, until what it has left to do is done. */
const betweenMs = 2000

export interface StageOptions {
  readonly mib: number
  readonly moves: number
  readonly seed: number
  /** Calls a second on the moving shard, half reads, half writes; and on the others. */
  readonly perSecond: number
  readonly othersPerSecond: number
  /** How long all is measured before each move. */
  readonly calmMs: number
  /** Rejects where the run is to end now. */
  readonly ended: Promise<never>
  tell(line: string): void
}

/** One move as clients and servers saw it, ms. */
export interface Pause {
  /** The longest time without an answer from the shard. */
  readonly gapMs: number
  /** The longest call on the shard. */
  readonly callMs: number
  /** From release to activation, as the history has it. */
  readonly serverMs: number
  /** From the command to its end. */
  readonly tookMs: number
}

export interface StageResult {
  readonly pauses: readonly Pause[]
  /** The longest times without an answer in stretches of time as long as a switch, with no move. */
  readonly calmGapsMs: readonly number[]
  /** p99 of calls on other shards, ms. */
  readonly othersBeforeMs: number
  readonly othersDuringMs: number
  readonly calls: number
  readonly late: number
  readonly failed: number
  readonly lastError: string
  /** What is wrong with the history; '': nothing. */
  readonly fault: string
  readonly checked: number
}

export async function playMoves(options: StageOptions): Promise<StageResult> {
  const up = await Up.start()
  const clients: Client[] = []
  let mover: Mover | undefined
  let precedence: Precedence | undefined
  try {
    precedence = new Precedence()
    if (!precedence.isHad)
      options.tell('the load does not go before the cluster (that takes Linux and root): what it waits for itself counts, too')
    const controllers = [...up.ready.controllers]
    for (let i = 0; i < clientCount; i++) clients.push(await connect({ controllers, deadlineMs }))
    const { shard } = await must(clients[0], 'a client').explain('{moving}/0')
    mover = await Mover.start(up, shard)
    return await Promise.race([play(options, clients, mover), options.ended])
  } catch (error) {
    options.tell(up.stderr.split('\n').slice(-20).join('\n'))
    throw error
  } finally {
    precedence?.giveBack()
    mover?.close()
    await Promise.all(clients.map((client) => client.close()))
    await up.dispose()
  }
}

async function play(options: StageOptions, clients: readonly Client[], mover: Mover): Promise<StageResult> {
  const { mib, seed, perSecond, othersPerSecond, calmMs, tell } = options
  const random = new SeededRandom(seed)
  const recorder = new HistoryRecorder<OstrakaInput, OstrakaOutput>()
  const records = new Records(random, { count: (mib * MiB) / valueBytes, valueBytes, keyOf: (i) => `{moving}/${i}` })
  const moving = new PacedLoad({ perSecond, records, clients, random, recorder })
  const staying = new Records(random, { count: 1000, valueBytes, keyOf: (i) => `staying/${i}` })
  const others = new PacedLoad({ perSecond: othersPerSecond, records: staying, clients, random, recorder })
  for (const load of [moving, others]) await load.fill(fillInFlight)
  tell(`${mib} MiB are filled`)
  await mover.settle()
  for (const load of [moving, others]) load.start()
  await sleep(warmMs)
  const calmGapsMs: number[] = []
  const pauses: Pause[] = []
  const [before, during] = [newLatencies(), newLatencies()]
  const homes = [mover.owner, mover.owner === 'g1' ? 'g2' : 'g1']
  for (let i = 1; i <= options.moves; i++) {
    tell(await calmDown(moving, others, calmMs, calmGapsMs))
    before.add(others.latencies)
    others.latencies = during
    const busy = busySince()
    const move = await mover.move(homes[i % 2] ?? '')
    others.latencies = newLatencies()
    const share = busy()
    await sleep(betweenMs)
    const pause = pauseOf(moving, move)
    pauses.push(pause)
    const told = Object.entries(pause).map(([what, ms]) => `${what} ${(ms as number).toFixed(1)}`)
    tell(
      `${mib} MiB, move ${i} of ${options.moves}: ${told.join(', ')}; ${moving.failed + others.failed} failed, ${moving.late} late, processors ${share} busy`,
    )
  }
  for (const load of [moving, others]) await load.stop()
  const operations = recorder.operations()
  const verdict = checkLinearizable(ostrakaModel, operations)
  return {
    pauses,
    calmGapsMs,
    othersBeforeMs: before.getValueAtPercentile(99) / 1000,
    othersDuringMs: during.getValueAtPercentile(99) / 1000,
    calls: moving.timeline.size + others.timeline.size,
    late: moving.late + others.late,
    failed: moving.failed + others.failed,
    lastError: moving.lastError || others.lastError,
    fault: verdict.verdict === 'linearizable' ? '' : describeVerdict(ostrakaModel, verdict),
    checked: operations.length,
  }
}

/** Measures both loads with no move, in latencies of their own; returns what is to be told of it. */
async function calmDown(moving: PacedLoad, others: PacedLoad, forMs: number, gapsMs: number[]): Promise<string> {
  for (const load of [moving, others]) load.latencies = newLatencies()
  const busy = busySince()
  const startedMs = performance.now()
  await sleep(forMs)
  for (let fromMs = startedMs; fromMs + beforeMs + afterMs < performance.now(); fromMs += beforeMs + afterMs) {
    gapsMs.push(moving.timeline.longestGapMs(fromMs, fromMs + beforeMs + afterMs))
  }
  const [ofShard, ofOthers] = [moving, others].map(({ latencies }) =>
    [50, 99].map((share) => (latencies.getValueAtPercentile(share) / 1000).toFixed(1)),
  )
  return `with no move: p50, p99 ms of the shard ${ofShard}, of others ${ofOthers}; ${moving.late} begun late, processors ${busy()} busy`
}

/** The share of this machine's processor time that was used between the two calls; what waits for a disk uses none. */
function busySince(): () => string {
  const usedMs = () => cpus().reduce((sum, { times: { user, nice, sys, irq } }) => sum + user + nice + sys + irq, 0)
  const [beforeMs, startedMs] = [usedMs(), performance.now()]
  return () => `${Math.round((100 * (usedMs() - beforeMs)) / (cpus().length * (performance.now() - startedMs)))} %`
}

function pauseOf({ timeline }: PacedLoad, { migration, askedMs, committedMs, endedMs }: Move): Pause {
  const [fromMs, toMs] = [committedMs - beforeMs, committedMs + afterMs]
  return {
    gapMs: timeline.longestGapMs(fromMs, toMs),
    callMs: timeline.longestCallMs(fromMs, toMs),
    serverMs: migration.pauseMs ?? Number.NaN,
    tookMs: endedMs - askedMs,
  }
}
