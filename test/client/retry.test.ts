import { describe, expect, it } from 'vitest'
import { SeededRandom } from '../../base/random.ts'
import { leaderBackoffMs, loadBackoffMs, verdictOf } from '../../client/retry.ts'
import { encodeError } from '../../proto/error-codec.ts'
import { type ErrorCode, OstrakaError } from '../../proto/errors.ts'

function verdict(code: ErrorCode, whole: boolean, waitMs = 0) {
  return verdictOf(encodeError(new OstrakaError(code, 'm', true, { waitMs })), whole)
}

describe('a failed attempt', () => {
  it('leads to another node, to another config, to a pause or to the end', () => {
    for (const whole of [true, false]) {
      for (const code of ['NOT_LEADER', 'UNAVAILABLE', 'UNKNOWN', 'DEADLINE'] as const) expect(verdict(code, whole).action).toBe('leader')
      for (const code of ['INVALID_ARGUMENT', 'CONDITION_FAILED'] as const) expect(verdict(code, whole).action).toBe('finish')
      expect(verdict('WRONG_GROUP', whole).action).toBe('config')
      expect(verdict('SHARD_MOVING', whole).action).toBe('shard')
      expect(verdict('SESSION_EXPIRED', whole).action).toBe('session')
    }
    expect([verdict('OVERLOADED', true).action, verdict('OVERLOADED', false).action]).toEqual(['load', 'shard'])
    expect(verdictOf({ code: 999 as 1, definite: true }, true)).toMatchObject({ action: 'leader', code: 'UNKNOWN', definite: false })
  })

  it('waits no longer than a bound, whatever a server says', () => {
    const random = new SeededRandom(1)
    expect(verdict('OVERLOADED', true, 2 ** 31).waitMs).toBe(5000)
    for (let failures = 0; failures < 40; failures++) {
      expect(leaderBackoffMs(failures, random)).toBeLessThanOrEqual(100)
      expect(loadBackoffMs(0, failures, random)).toBeLessThanOrEqual(375)
      expect(loadBackoffMs(30, failures, random)).toBeGreaterThanOrEqual(30)
    }
  })
})
