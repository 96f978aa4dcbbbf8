import { utf8 } from '../../base/bytes.ts'
import { SeededRandom } from '../../base/random.ts'
import type { Command } from '../../shardserver/commands.ts'
import { keyOf, LogBuilder } from './builders.ts'

/** A command as it was sent, so that it can be sent again. */
interface Sent {
  readonly client: number
  readonly command: Command
}

export interface HistoryEntry {
  readonly kind: 'birth' | 'mark' | 'write' | 'nothing'
  readonly timeMs: number
  readonly client: number
  readonly shards: readonly number[]
  readonly commands: readonly Command[]
}

const clients = 4
const shards = [1, 2, 3]
const keys = new Map(shards.map((shard) => [shard, [0, 1, 2, 3].map((number) => keyOf(shard, number))]))

/** Random clients that count, repeat, fall behind, forget and come back late; time that creeps, jumps and sometimes stands behind. */
export class RandomHistory {
  readonly log = new LogBuilder()
  readonly entries: HistoryEntry[] = []
  readonly #random: SeededRandom
  readonly #sent: Sent[] = []
  readonly #next = new Map<string, number>()
  #timeMs = 1000

  constructor(seed: number, length: number) {
    this.#random = new SeededRandom(seed)
    this.#birth([1])
    while (this.entries.length < length) this.#step()
  }

  #step(): void {
    const draw = this.#random.below(100)
    this.#timeMs += draw < 90 ? this.#random.below(40) : draw < 97 ? this.#random.below(100_000) : this.#random.below(5_000_000)
    if (draw === 0) this.#birth([1 + this.#random.below(2), 2])
    else if (draw < 4) this.#add('mark', 0, [], [])
    else if (draw < 6) this.#add('nothing', 0, [], [])
    else this.#write()
  }

  #birth(which: readonly number[]): void {
    this.#add('birth', 0, which, [])
  }

  #write(): void {
    const client = 1 + this.#random.below(clients)
    const commands: Command[] = []
    for (let i = this.#random.below(5); i >= 0; i--) commands.push(this.#command(client))
    this.#add('write', client, [], commands)
  }

  #add(kind: HistoryEntry['kind'], client: number, which: readonly number[], commands: readonly Command[]): void {
    const timeMs = Math.max(0, this.#timeMs - (this.#random.below(10) === 0 ? 500 : 0))
    this.entries.push({ kind, timeMs, client, shards: which, commands })
    if (kind === 'birth') this.log.birth(timeMs, which)
    else if (kind === 'mark') this.log.mark(timeMs)
    else if (kind === 'nothing') this.log.add(new Uint8Array(0))
    else this.log.write(timeMs, client, ...commands)
  }

  #command(client: number): Command {
    const again = this.#sent.length > 0 && this.#random.below(4) === 0 ? this.#pick(this.#sent.slice(-12)) : undefined
    if (again !== undefined && again.client === client) {
      const raise = this.#random.below(3) === 0 ? this.#random.below(3) : 0
      return { ...again.command, lowestOutstanding: (again.command.lowestOutstanding ?? 1) + raise }
    }
    const shard = this.#pick(shards) ?? 1
    const name = `${client}/${shard}`
    const sequence = (this.#next.get(name) ?? 0) + 1
    this.#next.set(name, sequence)
    const command: Command = {
      shard,
      sequence,
      lowestOutstanding: Math.max(1, sequence - this.#random.below(4)),
      first: sequence < 3 || this.#random.below(12) === 0,
      ...this.#operation(shard),
    }
    this.#sent.push({ client, command })
    return command
  }

  #operation(shard: number): Partial<Command> {
    const of = keys.get(shard) ?? []
    const key = this.#pick(of) ?? new Uint8Array(1)
    const ttl = this.#random.below(4) === 0 ? { ttlMs: 1 + this.#random.below(200) } : {}
    switch (this.#random.below(8)) {
      case 0:
        return { delete: { key } }
      case 1:
        return { append: { key, value: utf8(`${this.#random.below(10)}`) } }
      case 2:
        return { increment: { key, by: this.#random.below(5) === 0 ? '9223372036854775807' : `${this.#random.below(20) - 10}` } }
      case 3:
        return { expire: { key, ...ttl } }
      case 4:
        return { compareAndSet: { key, ...this.#condition(), value: utf8('c'), remove: this.#random.below(4) === 0, ...ttl } }
      case 5:
        return {
          batch: {
            checks: this.#random.below(2) === 0 ? [{ key, revision: this.#random.below(3) === 0 ? 0 : this.#random.below(60) }] : [],
            writes: of.map((other) =>
              this.#random.below(2) === 0 ? { put: { key: other, value: utf8('b'), ...ttl } } : { delete: { key: other } },
            ),
          },
        }
      default:
        return { put: { key, value: utf8(`${this.#random.below(50)}`), ...ttl } }
    }
  }

  #condition(): { expectAbsent: boolean } | { expectRevision: number } | { expectValue: Uint8Array } {
    const draw = this.#random.below(3)
    if (draw === 0) return { expectAbsent: true }
    return draw === 1 ? { expectRevision: 1 + this.#random.below(80) } : { expectValue: utf8(this.#random.below(2) === 0 ? 'c' : 'b') }
  }

  #pick<T>(list: readonly T[]): T | undefined {
    return list[this.#random.below(list.length)]
  }
}
