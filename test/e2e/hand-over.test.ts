/** SIGTERM of one real process after the other, under load: leadership is handed over, no call fails, and writes hardly pause. */
import os from 'node:os'
import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Client, connect } from '../../client/index.ts'
import { ClusterUnderLoad } from '../chaos/cluster-under-load.ts'
import { thinkMs } from './expectations.ts'
import { Up } from './up.ts'

const seed = Math.floor(Math.random() * 2 ** 31)
/** Long, so that an election which nobody called stands out on a busy machine too. */
const electionTimeoutMs = 5000

/** From an answer to the next write. */
const pulseMs = 2

/** Writes all the time, one write behind the other, and knows the longest time from one answer to the next. */
class Pulse {
  readonly #db: Client
  readonly #key: string
  #stopped = false
  #lastMs = performance.now()
  #longestMs = 0
  #writes = 0
  readonly #loop: Promise<void>

  constructor(db: Client, key: string) {
    this.#db = db
    this.#key = key
    this.#loop = this.#run()
  }

  /** The longest pause since the last call, ms. */
  takeLongestMs(): number {
    const longestMs = Math.max(this.#longestMs, performance.now() - this.#lastMs)
    this.#longestMs = 0
    return longestMs
  }

  /** Resolves with the number of writes. Rejects with what failed. */
  async stop(): Promise<number> {
    this.#stopped = true
    await this.#loop
    return this.#writes
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      await this.#db.put(this.#key, `value ${this.#writes++}`)
      const nowMs = performance.now()
      this.#longestMs = Math.max(this.#longestMs, nowMs - this.#lastMs)
      this.#lastMs = nowMs
      await delay(pulseMs)
    }
  }
}

/** A key of each group. */
async function keysOfGroups(db: Client, groups: readonly string[]): Promise<Map<string, string>> {
  const keys = new Map<string, string>()
  for (let i = 0; keys.size < groups.length; i++) {
    const { group } = await db.explain(`pulse ${i}`)
    if (group !== undefined && !keys.has(group)) keys.set(group, `pulse ${i}`)
  }
  return keys
}

/** The usual priority, and that of a process that has handed over what it led. */
function yielding(): ReadonlySet<number> {
  const usual = os.getPriority()
  return new Set([usual, Math.max(usual, 5)])
}

/** Keeps each priority that a process has until `stop`, once. */
function watchPriority(pid: number): { readonly seen: readonly number[]; stop(): void } {
  const seen: number[] = []
  const look = () => {
    try {
      const priority = os.getPriority(pid)
      if (!seen.includes(priority)) seen.push(priority)
    } catch {
      // It has ended.
    }
  }
  look()
  const timer = setInterval(look, 10)
  return { seen, stop: () => clearInterval(timer) }
}

describe(`SIGTERM under load (seed ${seed})`, { timeout: 180_000 }, () => {
  let up: Up
  let load: ClusterUnderLoad
  let db: Client
  let pulses: Map<string, Pulse>
  beforeAll(async () => {
    up = await Up.start(['--shards', '16', '--election-timeout-ms', String(electionTimeoutMs)])
    load = new ClusterUnderLoad(up, { seed, clients: 4, keys: 60, deadlineMs: 30_000, thinkMs })
    await load.start()
    db = await connect({ controllers: [...up.ready.controllers], deadlineMs: 10_000 })
    const keys = await keysOfGroups(db, ['g1', 'g2', 'g3'])
    pulses = new Map([...keys].map(([group, key]) => [group, new Pulse(db, key)]))
  })
  afterAll(async () => {
    await Promise.all([...(pulses?.values() ?? [])].map((pulse) => pulse.stop().catch(() => {})))
    await load?.stop()
    await db?.close()
    await up?.dispose()
  })

  /** Ends a process in good order, in time. Resolves with the priorities that it had meanwhile. */
  const terminate = async (id: string, pid: number): Promise<readonly number[]> => {
    const startMs = performance.now()
    const watch = watchPriority(pid)
    try {
      process.kill(pid, 'SIGTERM')
      await up.saw(`${id} has ended (exit code 0)`)
    } finally {
      watch.stop()
    }
    expect(performance.now() - startMs).toBeLessThan(5000)
    return watch.seen
  }

  const longestMs = () => Math.max(...[...pulses.values()].map((pulse) => pulse.takeLongestMs()))

  it('in a rolling restart of all nodes each hands over what it leads, in far less than an election timeout', async () => {
    const pausesMs: number[] = []
    const priorities = new Set<number>()
    for (const { id } of up.ready.nodes) {
      for (const group of pulses.keys()) {
        const told = await up.run(['admin', 'transfer-leader', group, id])
        expect(told).toMatchObject({ code: 0, stdout: `${id} leads ${group}\n` })
      }
      const victim = (await load.status()).nodes.find((node) => node.id === id)
      longestMs()
      for (const priority of await terminate(id, victim?.pid ?? 0)) priorities.add(priority)
      pausesMs.push(longestMs())
      await up.saw(`${id} is back`)
    }
    console.info(`longest pause of writes at each hand-over: ${pausesMs.map((ms) => `${ms.toFixed(0)} ms`).join(', ')}`)
    // What is left to do once others lead does not take the processor from them. Looked at from outside, which may miss one of three.
    expect(priorities).toEqual(yielding())
    for (const pauseMs of pausesMs) expect(pauseMs).toBeLessThan(electionTimeoutMs / 2)
  })

  it("the controllers' leader hands over too: they answer on", async () => {
    const priorities = new Set<number>()
    for (const id of ['c1', 'c2']) {
      expect(await up.run(['admin', 'transfer-leader', 'controller', id])).toMatchObject({ code: 0, stdout: `${id} leads controller\n` })
      const victim = (await load.status()).controllers.find((controller) => controller.id === id)
      expect(victim?.role).toBe('leader')
      for (const priority of await terminate(id, victim?.pid ?? 0)) priorities.add(priority)
      expect(await up.run(['admin', 'query', '--timeout', '2'])).toMatchObject({ code: 0 })
      await up.saw(`${id} is back`)
    }
    expect(priorities).toEqual(yielding())
  })

  it('a transfer to a node that does not take over is refused in one line, and the leader leads on', async () => {
    const outcome = await up.run(['admin', 'transfer-leader', 'g1', 'n9'])
    expect(outcome).toMatchObject({ code: 1, stderr: 'ostraka: n9 holds no replica of g1; its nodes are n1, n2, n3\n' })
  })

  it('through all of it no call has failed or stayed unknown, and what clients saw is linearizable', async () => {
    for (const pulse of pulses.values()) expect(await pulse.stop()).toBeGreaterThan(100)
    await load.stop()
    const { failed, unknown, lastError } = load.workload.counts
    expect({ failed, unknown, lastError }).toEqual({ failed: 0, unknown: 0, lastError: '' })
    expect(load.check()).toBeGreaterThan(1000)
  })

  it('a second signal ends a process at once, whatever it still has to hand over', async () => {
    expect(await up.run(['admin', 'transfer-leader', 'g1', 'n1'])).toMatchObject({ code: 0 })
    const { nodes } = await load.status()
    const pidOf = (id: string) => nodes.find((node) => node.id === id)?.pid ?? 0
    const peers = [pidOf('n2'), pidOf('n3')]
    for (const pid of peers) process.kill(pid, 'SIGSTOP')
    try {
      up.stderr = ''
      process.kill(pidOf('n1'), 'SIGTERM')
      await up.saw('"msg":"closing"')
      const startMs = performance.now()
      process.kill(pidOf('n1'), 'SIGTERM')
      await up.saw('n1 has ended (exit code 1)')
      expect(performance.now() - startMs).toBeLessThan(1000)
    } finally {
      for (const pid of peers) process.kill(pid, 'SIGCONT')
    }
    await up.saw('n1 is back')
  })

  it('of `up` stops everything at once: nobody waits for one that ends too', async () => {
    const startMs = performance.now()
    expect(await up.stop()).toBe(0)
    expect(performance.now() - startMs).toBeLessThan(5000)
  })
})
