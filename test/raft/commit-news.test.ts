import { describe, expect, it } from 'vitest'
import type { Timer } from '../../base/clock.ts'
import { CommitNews } from '../../raft/commit-news.ts'
import { draftMessage } from '../../raft/core/message.ts'
import { EntryKind, type Message, MessageType } from '../../raft/core/types.ts'

const envelope = { group: 'g1@1', groupTimeMs: 0, allMatched: 0 }

class HandClock {
  #nowMs = 0
  readonly #timers: { atMs: number; callback: () => void }[] = []

  setTimer(delayMs: number, callback: () => void): Timer {
    const timer = { atMs: this.#nowMs + delayMs, callback }
    this.#timers.push(timer)
    return { cancel: () => this.#timers.splice(this.#timers.indexOf(timer), 1) }
  }

  advance(ms: number): void {
    this.#nowMs += ms
    const due = this.#timers.filter(({ atMs }) => atMs <= this.#nowMs)
    for (const timer of due) this.#timers.splice(this.#timers.indexOf(timer), 1)
    for (const { callback } of due) callback()
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
}

function append(to: number, commit: number, entries = 0): Message {
  const message = draftMessage(MessageType.Append, 1, to, 1)
  message.commit = commit
  message.mayWait = entries === 0
  message.entries = Array.from({ length: entries }, (_, i) => ({ term: 1, index: i + 1, kind: EntryKind.Normal, data: new Uint8Array(0) }))
  return message
}

function other(type: MessageType, to: number): Message {
  return draftMessage(type, 1, to, 1)
}

describe('CommitNews', () => {
  it('lets entries go at once, with what waited for that replica only', () => {
    const rig = new Rig()
    rig.send(append(2, 4))
    rig.send(append(3, 4))
    rig.send(append(2, 5, 1))
    expect(rig.sent).toEqual(['g1 5>2 c5 1'])
    rig.clock.advance(10)
    expect(rig.sent).toEqual(['g1 5>2 c5 1', 'g1 5>3 c4 0'])
  })

  it('tells the newest of what waited, of all groups at once, once the wait is over', () => {
    const rig = new Rig()
    rig.send(append(2, 4))
    rig.clock.advance(6)
    rig.send(append(2, 5))
    rig.send(append(2, 9), 'g2')
    rig.clock.advance(3)
    expect(rig.sent).toEqual([])
    rig.clock.advance(1)
    expect(rig.sent).toEqual(['g1 5>2 c5 0', 'g2 5>2 c9 0'])
    rig.clock.advance(100)
    expect(rig.sent).toHaveLength(2)
  })

  it('sends what waited before whatever may rest on it, and leaves it waiting beside a heartbeat', () => {
    const rig = new Rig()
    rig.send(append(2, 4))
    rig.send(other(MessageType.Heartbeat, 2))
    expect(rig.sent).toEqual(['g1 7>2 c0 0'])
    rig.send(other(MessageType.ReadIndexResponse, 2))
    expect(rig.sent.slice(1)).toEqual(['g1 5>2 c4 0', 'g1 15>2 c0 0'])
  })

  it('does not hold back an Append that looks for where a log ends', () => {
    const rig = new Rig()
    rig.send({ ...append(2, 4), mayWait: false })
    expect(rig.sent).toEqual(['g1 5>2 c4 0'])
  })

  it("leaves with a group's replica, and not after the end", () => {
    const rig = new Rig()
    rig.send(append(2, 4))
    rig.send(append(2, 7), 'g2')
    rig.news.flush('g1')
    expect(rig.sent).toEqual(['g1 5>2 c4 0'])
    rig.news.close()
    rig.clock.advance(100)
    expect(rig.sent).toHaveLength(1)
  })
})
