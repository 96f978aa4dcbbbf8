import { describe, expect, it } from 'vitest'
import type { Timer } from '../../base/clock.ts'
import { CommitNews } from '../../raft/commit-news.ts'
import { draftMessage } from '../../raft/core/message.ts'
import { EntryKind, type Message, MessageType } from '../../raft/core/types.ts'

const envelope = { group: 'g1@1', groupTimeMs: 0, allMatched: 0 }

class HandClock {
  #nowMs = 0
  readonly #timers = new Set<{ atMs: number; callback: () => void }>()

  monotonicMs(): number {
    return this.#nowMs
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    const timer = { atMs: this.#nowMs + delayMs, callback }
    this.#timers.add(timer)
    return { cancel: () => void this.#timers.delete(timer) }
  }

  advance(ms: number): void {
    this.#nowMs += ms
    for (const timer of [...this.#timers].filter(({ atMs }) => atMs <= this.#nowMs)) {
      this.#timers.delete(timer)
      timer.callback()
    }
  }
}

class Rig {
  readonly clock = new HandClock()
  readonly sent: string[] = []
  readonly news = new CommitNews({
    clock: this.clock,
    send: (group, { type, to, commit, entries }) => this.sent.push(`${group} ${type}>${to} c${commit} ${entries.length}`),
  })

  send(message: Message, group = 'g1'): void {
    this.news.send(group, message, envelope)
  }

  /** Entries leave for a replica, 5 ms apart, as where it is written to: what was sent by then is not in `sent`. */
  write(to: number, group = 'g1'): void {
    this.send(append(to, 1, 1), group)
    this.clock.advance(5)
    this.send(append(to, 2, 1), group)
    this.sent.length = 0
  }
}

function append(to: number, commit: number, entries = 0, bytes = 0): Message {
  const message = draftMessage(MessageType.Append, 1, to, 1)
  message.commit = commit
  message.mayWait = entries === 0
  message.entries = Array.from({ length: entries }, (_, i) => ({
    term: 1,
    index: i + 1,
    kind: EntryKind.Normal,
    data: new Uint8Array(bytes),
  }))
  return message
}

function other(type: MessageType, to: number): Message {
  return draftMessage(type, 1, to, 1)
}

describe('CommitNews', () => {
  it('goes at once where entries do not follow each other closely', () => {
    const rig = new Rig()
    rig.send(append(2, 1))
    rig.send(append(2, 1, 1))
    rig.clock.advance(1)
    rig.send(append(2, 2))
    rig.clock.advance(30)
    rig.send(append(2, 2, 1))
    rig.send(append(2, 3))
    expect(rig.sent).toEqual(['g1 5>2 c1 0', 'g1 5>2 c1 1', 'g1 5>2 c2 0', 'g1 5>2 c2 1', 'g1 5>2 c3 0'])
  })

  it('is replaced by the next entries for that replica, and only that one', () => {
    const rig = new Rig()
    for (const to of [2, 3]) rig.write(to)
    rig.send(append(2, 4))
    rig.send(append(3, 4))
    rig.send(append(2, 5, 1))
    expect(rig.sent).toEqual(['g1 5>2 c5 1'])
    rig.clock.advance(10)
    expect(rig.sent).toEqual(['g1 5>2 c5 1', 'g1 5>3 c4 0'])
  })

  it('does not wait behind long entries', () => {
    const rig = new Rig()
    rig.write(2)
    rig.send(append(2, 4))
    rig.send(append(2, 4, 1, 100_000))
    expect(rig.sent).toEqual(['g1 5>2 c4 0', 'g1 5>2 c4 1'])
  })

  it('is told as of its newest, of all groups at once, once the wait is over', () => {
    const rig = new Rig()
    for (const group of ['g1', 'g2']) rig.write(2, group)
    rig.send(append(2, 4))
    rig.clock.advance(4)
    rig.send(append(2, 5))
    rig.send(append(2, 9), 'g2')
    rig.clock.advance(5)
    expect(rig.sent).toEqual([])
    rig.clock.advance(1)
    expect(rig.sent).toEqual(['g1 5>2 c5 0', 'g2 5>2 c9 0'])
    rig.clock.advance(100)
    expect(rig.sent).toHaveLength(2)
  })

  it('leaves before whatever may rest on it, and goes on waiting beside a heartbeat', () => {
    const rig = new Rig()
    rig.write(2)
    rig.send(append(2, 4))
    rig.send(other(MessageType.Heartbeat, 2))
    expect(rig.sent).toEqual(['g1 7>2 c0 0'])
    rig.send(other(MessageType.ReadIndexResponse, 2))
    expect(rig.sent.slice(1)).toEqual(['g1 5>2 c4 0', 'g1 15>2 c0 0'])
  })

  it('is no Append that looks for where a log ends', () => {
    const rig = new Rig()
    rig.write(2)
    rig.send({ ...append(2, 4), mayWait: false })
    expect(rig.sent).toEqual(['g1 5>2 c4 0'])
  })

  it("leaves with a group's replica, with all at the end, and not after it", () => {
    const rig = new Rig()
    for (const group of ['g1', 'g2', 'g3']) rig.write(2, group)
    for (const group of ['g1', 'g2']) rig.send(append(2, 4), group)
    rig.news.flush('g1')
    expect(rig.sent).toEqual(['g1 5>2 c4 0'])
    rig.news.flushAll()
    expect(rig.sent.slice(1)).toEqual(['g2 5>2 c4 0'])
    for (const n of [1, 2]) rig.send(append(2, n, 1), 'g3')
    rig.send(append(2, 7), 'g3')
    rig.news.close()
    rig.clock.advance(100)
    expect(rig.sent).toHaveLength(4)
  })
})
