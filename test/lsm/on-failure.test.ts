import { describe, expect, it } from 'vitest'
import { DiskError } from '../../base/errors.ts'
import { silentLogger } from '../../base/logger.ts'
import { environmentOf, openDatabase, simulate } from './environment.ts'
import { bytes, scan } from './model.ts'

const broken = new Error('the callback is broken')

describe.each([
  [
    'throws',
    () => {
      throw broken
    },
  ],
  ['rejects', () => Promise.reject(broken)],
])('an onFailure that %s', (_, onFailure) => {
  it.each([true, false])('keeps nobody waiting and is logged, with a WAL: %s', async (wal) => {
    const { world, process, disk } = simulate(4)
    const environment = environmentOf(process)
    const logged: unknown[] = []
    const logger = { ...silentLogger, error: (fields: object) => logged.push('error' in fields && fields.error) }
    const scenario = async () => {
      const db = await openDatabase(environment, { wal, onFailure, logger })
      const write = async (key: string) => {
        const written = db.put(bytes(key), bytes('1'))
        await (wal ? written : db.seal(bytes(key)))
      }
      await write('a')
      disk.failNext('sync', 'EIO')
      const outcomes = await Promise.allSettled([write('b'), write('c')])
      expect(db.failed).toBeInstanceOf(DiskError)
      expect(outcomes).toEqual([
        { status: 'rejected', reason: db.failed },
        { status: 'rejected', reason: db.failed },
      ])
      await expect(write('d')).rejects.toBe(db.failed)
      expect(logged).toEqual([db.failed, broken])
      await db.close()
      const again = await openDatabase(environment, { wal })
      expect((await scan(again))[0]).toBe('a=1')
      await again.close()
    }
    await world.settle(scenario(), 10_000_000)
  })
})
