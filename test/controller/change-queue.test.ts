import { describe, expect, it } from 'vitest'
import { ChangeQueue, type Waiting } from '../../controller/change-queue.ts'
import type { Compute } from '../../controller/leader-view.ts'
import type { Proposals } from '../../controller/proposals.ts'
import { Lab } from './lab.ts'

/** A queue whose first change is held up until it is let go, over a cluster of two groups. */
function heldQueue() {
  const lab = new Lab(16)
  lab.join(['g1', 'g2'])
  const order: string[] = []
  let letGo = () => {}
  const held = new Promise<void>((resolve) => {
    letGo = resolve
  })
  let reads = 0
  const queue = new ChangeQueue({
    clock: { monotonicMs: () => 0, soon: (callback) => queueMicrotask(callback) },
    proposals: {} as Proposals,
    read: async () => {
      if (reads++ === 0) await held
      return lab.view
    },
    answered: () => undefined,
  })
  const noted = (name: string): Compute => {
    return () => {
      order.push(name)
      return { kind: 'nothing', note: name }
    }
  }
  const hint = () => ''
  const ask = (name: string, waitingMax = 64) => {
    const waiting: Waiting = { request: { id: new Uint8Array(0), requested: 1 }, hint, waitingMax }
    return queue.submit(noted(name), waiting)
  }
  const tell = (name: string, waitingMax = 1024) => queue.submit(noted(name), { hint, waitingMax })
  const fail = (name: string) => {
    const compute: Compute = () => {
      order.push(name)
      throw new Error(name)
    }
    return queue.submit(compute, { hint, waitingMax: 1024 })
  }
  return { ask, tell, fail, order, letGo }
}

describe('the queue of changes', () => {
  it('takes what admins ask for though a thousand reports wait, and lets it go first, each followed by one report', async () => {
    const { ask, tell, order, letGo } = heldQueue()
    const told = Array.from({ length: 1025 }, (_, at) => tell(`told ${at}`))
    await expect(tell('one too many')).rejects.toMatchObject({ code: 'OVERLOADED', definite: true })
    const asked = ['cancel', 'pause', 'move'].map((name) => ask(name))
    letGo()
    expect((await Promise.all(asked)).map(({ note }) => note)).toEqual(['cancel', 'pause', 'move'])
    await Promise.all(told)
    expect(order.slice(0, 7)).toEqual(['told 0', 'cancel', 'told 1', 'pause', 'told 2', 'move', 'told 3'])
    expect(order).toHaveLength(1028)
  })

  it('refuses the change behind 64 that were asked for, and goes on behind one that fails', async () => {
    const { ask, tell, fail, order, letGo } = heldQueue()
    const first = tell('told')
    const asked = Array.from({ length: 64 }, (_, at) => ask(`asked ${at}`))
    await expect(ask('one too many')).rejects.toMatchObject({ code: 'OVERLOADED', definite: true })
    const failing = fail('nothing to be had')
    const later = tell('told later')
    letGo()
    await expect(failing).rejects.toThrow('nothing to be had')
    await Promise.all([first, ...asked, later])
    expect(order.slice(0, 6)).toEqual(['told', 'asked 0', 'nothing to be had', 'asked 1', 'told later', 'asked 2'])
    expect(order).toHaveLength(67)
    await ask('free again')
    expect(order.at(-1)).toBe('free again')
  })
})
