import { describe, expect, it } from 'vitest'
import { Turn } from '../../raft/turn.ts'

class Rig {
  readonly said: string[] = []
  readonly #waiting: (() => void)[] = []
  readonly turn = new Turn({ soon: (callback) => this.#waiting.push(callback) })

  /** Of the process's loop. Returns how many callbacks ran. */
  endTurn(): number {
    const callbacks = this.#waiting.splice(0)
    for (const callback of callbacks) callback()
    return callbacks.length
  }

  says(text: string, then = () => {}): () => void {
    return () => {
      this.said.push(text)
      then()
    }
  }
}

describe('the end of a turn', () => {
  it('runs all tasks in one callback: time first, then replicas, then what leaves', () => {
    const rig = new Rig()
    rig.turn.leave(rig.says('frame'))
    rig.turn.drain(rig.says('g1'))
    rig.turn.drain(rig.says('g2'))
    rig.turn.tick(rig.says('tick'))
    expect(rig.said).toEqual([])
    expect(rig.endTurn()).toBe(1)
    expect(rig.said).toEqual(['tick', 'g1', 'g2', 'frame'])
    expect(rig.endTurn()).toBe(0)
  })

  it('a replica that a tick wakes is drained in the same turn, and what it sends leaves in it', () => {
    const rig = new Rig()
    const sends = () => rig.turn.leave(rig.says('frame'))
    rig.turn.tick(rig.says('tick', () => rig.turn.drain(rig.says('g1', sends))))
    expect(rig.endTurn()).toBe(1)
    expect(rig.said).toEqual(['tick', 'g1', 'frame'])
    expect(rig.endTurn()).toBe(0)
  })

  it('a replica that is woken by what it does is drained in the next turn: sockets are read in between', () => {
    const rig = new Rig()
    rig.turn.drain(rig.says('once', () => rig.turn.drain(rig.says('again'))))
    rig.turn.leave(rig.says('frame'))
    rig.endTurn()
    expect(rig.said).toEqual(['once', 'frame'])
    expect(rig.endTurn()).toBe(1)
    expect(rig.said).toEqual(['once', 'frame', 'again'])
  })
})
