import { expect, it } from 'vitest'
import { sleep } from '../../base/clock.ts'
import type { FileSystem } from '../../base/file-system.ts'
import { environmentOf, openDatabase, simulate } from './environment.ts'
import { bytes } from './model.ts'
import { override } from './override.ts'

/** A log is synced beside the writes of the next one. After a crash the next one counts for nothing where the end of this one was lost. */
it('a write that asks for durability is acknowledged only when the logs before its own are durable', () => {
  const { world, process: machine } = simulate(11)
  const environment = environmentOf(machine)
  const logs: string[] = []
  let release = () => {}
  const gate = new Promise<void>((resolve) => {
    release = resolve
  })
  const open: FileSystem['open'] = async (path, mode) => {
    const file = await environment.fileSystem.open(path, mode)
    if (!path.endsWith('.log')) return file
    logs.push(path)
    if (logs[0] !== path) return file
    const sync = async () => {
      await gate
      await file.sync()
    }
    return override(file, { sync })
  }
  return world.settle(
    (async () => {
      const db = await openDatabase({ ...environment, fileSystem: override(environment.fileSystem, { open }) })
      for (let i = 0; i < 35; i++) await db.put(bytes(`key${i}`), new Uint8Array(100), { sync: false })
      expect(logs.length).toBeGreaterThan(1)
      let isAcknowledged = false
      const written = Promise.resolve(db.put(bytes('key'), bytes('value'))).then(() => {
        isAcknowledged = true
      })
      await sleep(environment.clock, 1000)
      expect(isAcknowledged).toBe(false)
      release()
      await written
      await db.close()
    })(),
    1_000_000,
  )
})
