/** Clients of the shard labs that call all the time, until they are stopped: those of 2023 append, those of 2025 put by version. */
import type { Random } from '../../base/random.ts'
import type { Client } from '../../client/client.ts'
import type { HistoryRecorder } from '../linearizability/history.ts'
import type { OstrakaInput, OstrakaOutput } from '../linearizability/ostraka-model.ts'
import { deadlineMs, type ShardLab } from './shard-lab.ts'

abstract class Clerk {
  answered = 0
  readonly #lab: ShardLab
  readonly #name: string
  readonly #thinkMs: number
  readonly #random: Random
  #stopped = false
  #done = false

  /** `thinkMs`: between an answer and the next call, in the mean. */
  constructor(lab: ShardLab, name: string, thinkMs: number) {
    this.#lab = lab
    this.#name = name
    this.#thinkMs = thinkMs
    this.#random = lab.world.random.fork()
    // A call that fails fails the run: a clerk of the labs gets every answer.
    this.#run().catch((error) => lab.world.fail(error))
  }

  protected get random(): Random {
    return this.#random
  }

  protected abstract one(db: Client): Promise<void>

  async stop(): Promise<void> {
    this.#stopped = true
    await this.#lab.world.runUntil(() => this.#done, deadlineMs, `${this.#name} has its answer`)
  }

  async #run(): Promise<void> {
    const { world, cluster } = this.#lab
    const db = cluster.client(this.#name, deadlineMs)
    await db.ready(deadlineMs)
    while (!this.#stopped) {
      await this.one(db)
      this.answered++
      const thinkMs = 2 * this.#thinkMs * this.#random.next()
      await new Promise<void>((resolve) => world.schedule(thinkMs, undefined, `${this.#name} thinks`, resolve))
    }
    await db.close()
    this.#done = true
  }
}

/** Appends to a key of its own, and now and then reads that it holds exactly what was appended: each once, in order, nothing lost or empty. */
export class Appender extends Clerk {
  readonly key: string
  #text = ''

  constructor(lab: ShardLab, key: string, thinkMs: number) {
    super(lab, `appender of ${key}`, thinkMs)
    this.key = key
  }

  get text(): string {
    return this.#text
  }

  protected async one(db: Client): Promise<void> {
    if (this.random.next() < 0.3) return this.check(db)
    const value = `x ${this.answered} y`
    this.#text += value
    await db.append(this.key, value)
  }

  async check(db: Client): Promise<void> {
    const found = (await db.get(this.key))?.value.toString('utf8') ?? ''
    if (found !== this.#text) throw new Error(`key ${this.key} holds ${JSON.stringify(found)}, not ${JSON.stringify(this.#text)}`)
  }
}

/** Reads any of the keys and puts a value of its own there if nobody has put another since. All is recorded. */
export class VersionedClerk extends Clerk {
  applied = 0
  readonly #id: string
  readonly #keys: readonly string[]
  readonly #recorder: HistoryRecorder<OstrakaInput, OstrakaOutput>

  constructor(lab: ShardLab, id: number, keys: readonly string[], recorder: HistoryRecorder<OstrakaInput, OstrakaOutput>) {
    super(lab, `clerk ${id}`, 20)
    this.#id = `${id}`
    this.#keys = keys
    this.#recorder = recorder
  }

  protected async one(db: Client): Promise<void> {
    const key = this.#keys[this.random.below(this.#keys.length)] ?? ''
    const read = this.#recorder.call(this.#id, key, { op: 'get' })
    const found = await db.get(key)
    const before = found?.value.toString('utf8')
    this.#recorder.return(read, { value: before })
    // Values are unique, so that a revision stands for a value.
    const value = `${this.#id}.${this.answered}`
    const expect = before === undefined ? { absent: true as const } : { value: before }
    const put = this.#recorder.call(this.#id, key, { op: 'compareAndSet', expect, change: { value } })
    const condition = found === undefined ? { absent: true as const } : { revision: found.revision }
    const { applied, current } = await db.compareAndSet(key, condition, value)
    this.#recorder.return(put, applied ? { applied } : { applied, current: current?.value.toString('utf8') })
    if (applied) this.applied++
  }
}
