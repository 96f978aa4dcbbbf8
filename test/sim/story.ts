/** What happened in a run, in lines for people: faults, elections, configs, membership, and what the processes logged as warnings and worse. */
import type { JournalEntry } from './fault-journal.ts'
import type { RaftEvents } from './raft-checker.ts'
import type { World } from './world.ts'

interface Line {
  readonly atMs: number
  readonly who: string
  readonly what: string
}

const linesMax = 5_000
const fieldsLengthMax = 160

export class Story implements RaftEvents {
  readonly #world: World
  #lines: Line[] = []

  constructor(world: World) {
    this.#world = world
  }

  say(who: string, what: string): void {
    if (this.#lines.length >= linesMax) this.#lines = this.#lines.slice(linesMax / 2)
    this.#lines.push({ atMs: this.#world.nowMs, who, what })
  }

  fault({ id, what }: JournalEntry): void {
    this.say('fault', `${id}: ${what}`)
  }

  elected(group: string, node: string, term: number): void {
    this.say(node, `leads ${group} in term ${term}`)
  }

  reconfigured(group: string, node: string, members: string): void {
    this.say(node, `has of ${group} the members ${members}`)
  }

  /** The last `lastMs` of it. */
  tell(lastMs: number): string[] {
    const logged = this.#world.logLines
      .filter(({ level }) => level === 'warn' || level === 'error')
      .map(({ atMs, process, level, message, fields }) => ({ atMs, who: process, what: `${level}: ${message} ${shown(fields)}` }))
    const fromMs = this.#world.nowMs - lastMs
    return [...this.#lines, ...logged]
      .filter(({ atMs }) => atMs >= fromMs)
      .sort((a, b) => a.atMs - b.atMs)
      .map(({ atMs, who, what }) => `${(atMs / 1000).toFixed(3).padStart(9)} s  ${who.padEnd(8)} ${what}`)
  }
}

function shown(fields: object): string {
  const text = JSON.stringify(fields, (_, value) => (value instanceof Error ? value.message : value))
  return text.length > fieldsLengthMax ? `${text.slice(0, fieldsLengthMax)}…` : text
}
