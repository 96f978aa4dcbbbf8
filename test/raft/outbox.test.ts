import { describe, expect, it } from 'vitest'
import { pb } from '../../proto/messages.ts'
import { draftMessage } from '../../raft/core/message.ts'
import { MessageType } from '../../raft/core/types.ts'
import { Outbox } from '../../raft/outbox.ts'

class Rig {
  readonly frames: pb.v1.RaftFrame[] = []
  takes = true
  readonly #turn: (() => void)[] = []
  readonly outbox: Outbox

  constructor() {
    const stream = {
      write: (frame: pb.v1.RaftFrame) => {
        this.frames.push(frame)
        return this.takes
      },
      end: () => {},
      closed: false,
    }
    this.outbox = new Outbox(stream, { leave: (task) => this.#turn.push(task) }, () => new Uint8Array(0))
  }

  endTurn(): void {
    for (const callback of this.#turn.splice(0)) callback()
  }

  heartbeat(group: string): void {
    this.outbox.pushHeartbeat(draftMessage(MessageType.Heartbeat, 1, 2, 3), { group, groupTimeMs: 0, allMatched: 0 })
  }

  message(term: number): void {
    this.outbox.push(new pb.v1.RaftMessage({ group: 'g', type: 1, from: 1, to: 2, term }), 100)
  }
}

const beat = (count: number) => new pb.v1.NodeBeat({ led: { count, digest: 0 } })

describe('what waits for a peer', () => {
  it('the messages, heartbeats of all groups and the beat of a turn are one frame', () => {
    const rig = new Rig()
    rig.outbox.setBeat(beat(4))
    for (let i = 0; i < 64; i++) rig.heartbeat(`g${i}`)
    rig.message(1)
    rig.message(2)
    expect(rig.frames).toEqual([])
    rig.endTurn()
    expect(rig.frames).toHaveLength(1)
    expect(rig.frames[0]?.messages).toHaveLength(2)
    expect(rig.frames[0]?.heartbeats?.groups).toHaveLength(64)
    expect(rig.frames[0]?.beat?.led?.count).toBe(4)
    rig.endTurn()
    expect(rig.frames).toHaveLength(1)
  })

  it('64 heartbeats are one small message', () => {
    const rig = new Rig()
    for (let i = 0; i < 64; i++) rig.heartbeat(`g${i}@12`)
    rig.endTurn()
    expect(pb.v1.RaftFrame.encode(rig.frames[0] as pb.v1.RaftFrame).finish().length).toBeLessThan(64 * 20)
  })

  it('where the peer takes nothing more all wait, and of beats only the newest leaves', () => {
    const rig = new Rig()
    rig.takes = false
    rig.message(1)
    rig.endTurn()
    rig.heartbeat('g1')
    rig.outbox.setBeat(beat(1))
    rig.outbox.setBeat(beat(2))
    rig.endTurn()
    expect(rig.frames).toHaveLength(1)
    rig.takes = true
    rig.outbox.drained()
    expect(rig.frames).toHaveLength(2)
    expect(rig.frames[1]?.heartbeats?.groups).toEqual(['g1'])
    expect(rig.frames[1]?.beat?.led?.count).toBe(2)
  })

  it('the beat leaves behind all messages that were sent before it', () => {
    const rig = new Rig()
    rig.outbox.setBeat(beat(1))
    for (let i = 0; i < 3; i++) rig.outbox.push(new pb.v1.RaftMessage({ group: 'g', type: 5, from: 1, to: 2, term: i }), 900_000)
    rig.endTurn()
    expect(rig.frames.map(({ beat }) => beat != null)).toEqual([false, false, true])
  })
})
