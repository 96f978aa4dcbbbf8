import { describe, expect, it } from 'vitest'
import type { Timer } from '../../base/clock.ts'
import { NodeClock } from '../../base/node-clock.ts'
import { SeededRandom } from '../../base/random.ts'
import { rehearse } from '../../shardserver/rehearsal.ts'

class CountingClock extends NodeClock {
  timers = 0
  isOver = false
  readonly unarmed: Promise<void>
  #armed = 0
  #onUnarmed = () => {}

  constructor() {
    super()
    this.unarmed = new Promise((resolve) => {
      this.#onUnarmed = resolve
    })
  }

  /** No timer is to be armed any more. */
  end(): void {
    this.isOver = true
    if (this.#armed === 0) this.#onUnarmed()
  }

  override setTimer(delayMs: number, callback: () => void): Timer {
    this.timers++
    this.#armed++
    let isOver = false
    const over = () => {
      if (isOver) return
      isOver = true
      if (--this.#armed === 0 && this.isOver) this.#onUnarmed()
    }
    const timer = super.setTimer(delayMs, () => {
      over()
      callback()
    })
    return {
      cancel: () => {
        over()
        timer.cancel()
      },
    }
  }
}

/** Throws once, when it is looked at for the `looks`-th time. */
class FailingClock extends NodeClock {
  hasFailed = false
  #looks: number

  constructor(looks: number) {
    super()
    this.#looks = looks
  }

  override monotonicMs(): number {
    if (--this.#looks === 0) {
      this.hasFailed = true
      throw new Error('no time')
    }
    return super.monotonicMs()
  }
}

describe('the rehearsal of a node', () => {
  it('has each of three replicas lead, take calls and hand over', async () => {
    for (let seed = 1; seed <= 4; seed++) {
      const { led, answered } = await rehearse(new NodeClock(), new SeededRandom(seed))
      expect([...led].sort(), `seed ${seed}`).toEqual([1, 2, 3])
      expect(answered, `seed ${seed}`).toBeGreaterThanOrEqual(3 * 20)
    }
  })

  it('leaves no timer behind that goes on', async () => {
    const clock = new CountingClock()
    await rehearse(clock, new SeededRandom(1))
    clock.end()
    await clock.unarmed
    expect(clock.timers).toBeGreaterThan(0)
  })

  it('ends with its process, whatever it is at', async () => {
    const outcomes: string[] = []
    for (let turns = 0; turns < 300; turns += 13) {
      const stop = new AbortController()
      const rehearsal = rehearse(new NodeClock(), new SeededRandom(1), stop.signal)
      const ended = rehearsal.then(
        () => 'over',
        (error: Error) => error.name,
      )
      for (let i = 0; i < turns; i++) await new Promise<void>((resolve) => setImmediate(resolve))
      stop.abort()
      outcomes.push(await ended)
    }
    // The last of them may have come too late.
    const aborted = outcomes.lastIndexOf('AbortError') + 1
    expect(outcomes.slice(0, aborted)).toEqual(Array.from({ length: aborted }, () => 'AbortError'))
    expect(outcomes.slice(aborted).every((outcome) => outcome === 'over')).toBe(true)
    expect(aborted).toBeGreaterThan(10)
  })

  it('keeps a fault of any part to itself', async () => {
    let failed = 0
    for (let looks = 1; looks < 1500; looks += 61) {
      const clock = new FailingClock(looks)
      const outcome = await rehearse(clock, new SeededRandom(1)).then(
        () => 'over',
        (error: Error) => error.message,
      )
      expect(outcome, `at look ${looks}`).toBe(clock.hasFailed ? 'no time' : 'over')
      if (clock.hasFailed) failed++
    }
    expect(failed).toBeGreaterThan(5)
  })

  it('lets others have their turns', async () => {
    let turns = 0
    let over = false
    const count = () => {
      turns++
      if (!over) setImmediate(count)
    }
    setImmediate(count)
    await rehearse(new NodeClock(), new SeededRandom(1))
    over = true
    expect(turns).toBeGreaterThan(30)
  })
})
