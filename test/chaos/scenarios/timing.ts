/** How long writes to one group are away: when its leader hands over, when its process is asked to end, when it is killed. */
import { setTimeout as delay } from 'node:timers/promises'
import { GrpcTransport } from '../../../base/grpc-transport.ts'
import { silentLogger } from '../../../base/logger.ts'
import type { Transport } from '../../../base/transport.ts'
import { type Client, connect } from '../../../client/index.ts'
import { nodeMethods } from '../../../proto/methods.ts'
import { pick } from '../faults/fault.ts'
import { type Figures, fail, type Stage } from './stage.ts'

/** A write is issued so often, whether or not those before are answered: a pause is seen to a few ms, and does not end in a burst of its own making. */
const everyMs = 10
/** Calls on one key wait for one another; writes go to so many keys in turn. */
const keyCount = 64
/**
 * How long the writers run before and after an event. Before: as a rolling restart waits between two nodes. A process that was started a second
 * ago still compiles its code, on the two cores that the others need.
 */
const beforeMs = 5000
const afterMs = 500
/** A planned hand-over: at most this long, in all but one of thirty. */
const handOverMs = 50

/** Writes to one group all the time, and when they were answered. */
class Writers {
  readonly #db: Client
  readonly #keys: readonly string[]
  readonly #pending = new Set<Promise<void>>()
  readonly #ackedMs: number[] = []
  readonly #timer: NodeJS.Timeout
  #count = 0

  private constructor(db: Client, keys: readonly string[]) {
    this.#db = db
    this.#keys = keys
    this.#timer = setInterval(() => this.#write(), everyMs)
  }

  static async start(controllers: readonly string[], group: string): Promise<Writers> {
    const db = await connect({ controllers, deadlineMs: 30_000 })
    const keys: string[] = []
    for (let i = 0; keys.length < keyCount; i++) if ((await db.explain(`pulse-${i}`)).group === group) keys.push(`pulse-${i}`)
    return new Writers(db, keys)
  }

  /** Resolves when a write is acknowledged that was not before. */
  async another(): Promise<void> {
    const { length } = this.#ackedMs
    while (this.#ackedMs.length === length) await delay(1)
  }

  /** The longest time between two acknowledgements of which the later came after `fromMs` and the earlier before `toMs`. */
  longestGap(fromMs: number, toMs: number): Gap {
    let longest: Gap = { beginMs: fromMs, ms: 0 }
    for (const [i, ackedMs] of this.#ackedMs.entries()) {
      const lastMs = this.#ackedMs[i - 1] ?? ackedMs
      if (ackedMs >= fromMs && lastMs <= toMs && ackedMs - lastMs > longest.ms) longest = { beginMs: lastMs, ms: ackedMs - lastMs }
    }
    return longest
  }

  /** Rejects where a write failed. */
  async stop(): Promise<void> {
    clearInterval(this.#timer)
    await Promise.all(this.#pending)
    await this.#db.close()
  }

  /** Issues no more; what is under way is not waited for. */
  async abandon(): Promise<void> {
    clearInterval(this.#timer)
    await this.#db.close()
  }

  #write(): void {
    const count = this.#count++
    const write = this.#db.put(this.#keys[count % keyCount] ?? '', `${count}`).then(() => {
      this.#ackedMs.push(performance.now())
      this.#pending.delete(write)
    })
    // One that fails stays pending: `stop` tells of it.
    write.catch(() => {})
    this.#pending.add(write)
  }
}

interface Gap {
  readonly beginMs: number
  readonly ms: number
}

interface Event {
  readonly name: string
  /** Makes leader `leader` of `group` go, in favour of `target` where it has a say. Resolves when that has ended. */
  happen(stage: Stage, group: string, leader: string, target: string): Promise<void>
  /** Afterwards, when the gap was measured. */
  repair?(stage: Stage, leader: string): Promise<void>
}

function transfer(transport: Transport): Event {
  return {
    name: 'transfer',
    async happen({ cluster }, group, leader, target) {
      const address = cluster.ready.nodes.find(({ id }) => id === leader)?.address ?? ''
      const channel = transport.connect(address)
      try {
        const { error } = await channel.unary(nodeMethods.transferLeader, { group, node: target }, { timeoutMs: 10_000 })
        if (error) throw new Error(`${leader} did not hand ${group} over to ${target}: ${error.message}`)
      } finally {
        channel.close()
      }
    },
  }
}

const terminate: Event = {
  name: 'SIGTERM',
  async happen({ cluster }, _group, leader) {
    const code = await cluster.process(leader).terminate()
    if (code !== 0) throw new Error(`${leader} ended with ${code} after SIGTERM`)
  },
  repair: ({ cluster }, leader) => cluster.process(leader).start(),
}

const kill: Event = {
  name: 'kill',
  async happen({ cluster }, _group, leader) {
    await cluster.process(leader).kill()
  },
  repair: ({ cluster }, leader) => cluster.process(leader).start(),
}

/** The longest time without an acknowledged write that has to do with the event, of each of `rounds`, ms, ascending. */
async function gaps(stage: Stage, event: Event, rounds: number): Promise<number[]> {
  const { cluster, random } = stage
  const measured: number[] = []
  for (let round = 0; round < rounds; round++) {
    await cluster.healthy()
    const leaders = await cluster.leaders()
    const group = cluster.groups[round % cluster.groups.length] ?? ''
    const leader = leaders.get(group) ?? ''
    const others = cluster.nodes.map(({ id }) => id).filter((id) => id !== leader)
    const writers = await Writers.start(cluster.ready.controllers, group)
    try {
      await delay(beforeMs)
      const startMs = performance.now()
      await event.happen(stage, group, leader, pick(random, others) ?? '')
      const endMs = performance.now()
      await delay(afterMs)
      await writers.another()
      const gap = writers.longestGap(startMs, endMs)
      measured.push(gap.ms)
      if (gap.ms > handOverMs) {
        const [beganMs, tookMs] = [gap.beginMs - startMs, endMs - startMs].map(Math.round)
        console.log(
          `  ${event.name} ${round + 1}: ${Math.round(gap.ms)} ms without an answer, from ${beganMs} ms on; the event took ${tookMs} ms`,
        )
      }
      await writers.stop()
    } finally {
      await writers.abandon()
    }
    await event.repair?.(stage, leader)
  }
  console.log(`  ${event.name}: ${measured.map((ms) => Math.round(ms)).join(' ')} ms`)
  return measured.sort((a, b) => a - b)
}

/** Planned: by a transfer, and by SIGTERM of the leader's process. */
export async function transfers(stage: Stage, rounds: number): Promise<Figures> {
  const byTransfer = await gaps(stage, transfer(new GrpcTransport({ logger: silentLogger })), rounds)
  const bySignal = await gaps(stage, terminate, rounds)
  const figures = { rounds, ...summary('transfer', byTransfer), ...summary('sigterm', bySignal) }
  for (const measured of [byTransfer, bySignal]) {
    const slow = measured.filter((ms) => ms > handOverMs).length
    if (slow > rounds / 30) fail(`writes were away for more than ${handOverMs} ms in ${slow} of ${rounds}`, figures)
  }
  return figures
}

/** Not planned: kill -9. In units of the election timeout T: 1.3 T in the median, 2 T in 27 of 30, 4 T at most. */
export async function killTiming(stage: Stage, rounds: number): Promise<Figures> {
  const { electionTimeoutMs } = stage.cluster.options
  const measured = await gaps(stage, kill, rounds)
  const within = measured.filter((ms) => ms <= 2 * electionTimeoutMs).length
  const figures = { rounds, electionTimeoutMs, ...summary('kill', measured), within2T: within }
  if (at(measured, 0.5) > 1.3 * electionTimeoutMs) fail('the median is above 1.3 election timeouts', figures)
  if (within < (27 / 30) * rounds) fail(`only ${within} of ${rounds} are within 2 election timeouts`, figures)
  if (at(measured, 1) > 4 * electionTimeoutMs) fail('one is above 4 election timeouts', figures)
  return figures
}

function summary(name: string, sorted: readonly number[]): Figures {
  return { [`${name}MedianMs`]: at(sorted, 0.5), [`${name}P90Ms`]: at(sorted, 0.9), [`${name}MaxMs`]: at(sorted, 1) }
}

/** Rounded up. */
function at(sorted: readonly number[], part: number): number {
  return Math.ceil(sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? 0)
}
