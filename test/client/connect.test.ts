import { describe, expect, it } from 'vitest'
import { connect, OstrakaError } from '../../client/index.ts'

async function failure(promise: Promise<unknown>): Promise<OstrakaError> {
  try {
    await promise
  } catch (error) {
    if (error instanceof OstrakaError) return error
    throw error
  }
  throw new Error('it succeeded')
}

describe('connect', () => {
  it('refuses what are no addresses', async () => {
    for (const controllers of [
      [],
      ['localhost'],
      ['localhost:0'],
      ['localhost:65536'],
      ['a b:1'],
      [':7400'],
      ['http://localhost:7400'],
      ['::1:7400'],
    ]) {
      const error = await failure(connect({ controllers }))
      expect(error, controllers.join()).toMatchObject({ code: 'INVALID_ARGUMENT', definite: true })
    }
    expect(await failure(connect({ controllers: ['[::1]:7400'], deadlineMs: 0 }))).toMatchObject({ code: 'INVALID_ARGUMENT' })
    expect(await failure(connect({ controllers: ['[::1]:7400'], read: 'fresh' as 'stale' }))).toMatchObject({ code: 'INVALID_ARGUMENT' })
  })

  it('fails within the deadline, in one line that names the controllers, where none answers', async () => {
    const startMs = performance.now()
    // Ports that no one listens on.
    const error = await failure(connect({ controllers: ['127.0.0.1:1', '127.0.0.1:2'], deadlineMs: 300 }))
    expect(performance.now() - startMs).toBeLessThan(5000)
    expect(error).toMatchObject({ code: 'UNAVAILABLE', definite: true })
    expect(error.message).toMatch(/^[^\n]*127\.0\.0\.1:1, 127\.0\.0\.1:2[^\n]*$/)
  })
})
