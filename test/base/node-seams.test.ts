import { execFileSync } from 'node:child_process'
import { describe, expect, it } from 'vitest'
import { NodeClock } from '../../base/node-clock.ts'
import { nodeLogger } from '../../base/node-logger.ts'
import { NodeRandom } from '../../base/node-random.ts'
import { compile } from './compile.ts'

describe('NodeClock', () => {
  it('never fires a timer early', async () => {
    const clock = new NodeClock()
    for (const delayMs of [0, 0.3, 1, 1.7, 5, 11.2]) {
      const start = clock.monotonicMs()
      await new Promise<void>((resolve) => {
        clock.setTimer(delayMs, resolve)
      })
      expect(clock.monotonicMs() - start).toBeGreaterThanOrEqual(delayMs)
    }
  })

  it('keeps a process alive that waits for nothing but a timer', () => {
    // Once `ostraka admin join`, between two tries, ended as idle with exit code 13.
    const compiled = compile(new URL('../../base/node-clock.ts', import.meta.url))
    try {
      const code = `import { NodeClock } from '${compiled.url}'; await new Promise((resolve) => new NodeClock().setTimer(50, resolve)); console.log('done')`
      expect(execFileSync(process.execPath, ['--input-type=module', '-e', code], { encoding: 'utf8' })).toBe('done\n')
    } finally {
      compiled.remove()
    }
  })

  it('does not fire a cancelled timer', async () => {
    const clock = new NodeClock()
    let fired = false
    clock
      .setTimer(1, () => {
        fired = true
      })
      .cancel()
    await new Promise<void>((resolve) => {
      clock.setTimer(10, resolve)
    })
    expect(fired).toBe(false)
  })

  it('takes a delay longer than setTimeout does', async () => {
    const clock = new NodeClock()
    let fired = false
    const timer = clock.setTimer(2 ** 40, () => {
      fired = true
    })
    await new Promise((resolve) => setTimeout(resolve, 20))
    timer.cancel()
    expect(fired).toBe(false)
  })

  it('runs what was given to `soon` in order, after the microtasks and before a timer', async () => {
    const clock = new NodeClock()
    const order: string[] = []
    await new Promise<void>((resolve) => {
      clock.soon(() => order.push('first'))
      clock.soon(() => {
        order.push('second')
        resolve()
      })
      Promise.resolve().then(() => order.push('microtask'))
      order.push('turn')
    })
    expect(order).toEqual(['turn', 'microtask', 'first', 'second'])
  })

  it('tells wall time in milliseconds since 1970', () => {
    expect(Math.abs(new NodeClock().wallMs() - Date.now())).toBeLessThan(1000)
  })
})

describe('NodeRandom', () => {
  it('draws differently in each instance, within the bounds', () => {
    const [a, b] = [new NodeRandom(), new NodeRandom()]
    expect(a.bytes(16)).not.toEqual(b.bytes(16))
    expect(Array.from({ length: 8 }, () => a.next())).not.toEqual(Array.from({ length: 8 }, () => b.next()))
    for (let i = 0; i < 1000; i++) {
      const drawn = a.below(7)
      expect(Number.isInteger(drawn) && drawn >= 0 && drawn < 7).toBe(true)
    }
  })
})

describe('nodeLogger', () => {
  it('writes one JSON line per call, with its own, its child’s and the call’s fields, from its level on', () => {
    const lines: string[] = []
    const logger = nodeLogger('info', { node: 'n1' }, { write: (line: string) => void lines.push(line) })
    logger.debug({ index: 1 }, 'too quiet')
    logger.child({ group: 'g1' }).warn({ index: 2 }, 'a sentence')
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([{ node: 'n1', group: 'g1', index: 2, msg: 'a sentence', level: 40 }])
  })
})
