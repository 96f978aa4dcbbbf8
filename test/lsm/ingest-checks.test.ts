import { expect, it } from 'vitest'
import { CorruptionError } from '../../base/errors.ts'
import { writeTable } from '../../lsm/index.ts'
import { onNode, openDatabase } from './environment.ts'
import { bytes, scan } from './model.ts'
import { override } from './override.ts'

it('an ingest looks at every byte of a file: one that is damaged anywhere is refused, and the database goes on', () =>
  onNode(async (environment) => {
    const { fileSystem, folder } = environment
    const db = await openDatabase(environment)
    const path = `${folder}/foreign.sst`
    const entries = Array.from({ length: 20 }, (_, i) => ({ key: bytes(`key${i + 10}`), value: bytes('v'.repeat(30)) }))
    const { size } = await writeTable(fileSystem, path, entries)
    for (let offset = 0; offset < size; offset += 7) {
      const file = await fileSystem.open(path, 'write')
      const byte = new Uint8Array(1)
      await file.read(byte, offset)
      await file.write([Uint8Array.of((byte[0] as number) ^ 1)], offset)
      await expect(db.ingest([{ path }]), `offset ${offset} of ${size}`).rejects.toBeInstanceOf(CorruptionError)
      await file.write([byte], offset)
      await file.close()
    }
    expect([db.failed, await scan(db)]).toEqual([undefined, []])
    await db.ingest([{ path }])
    expect(await scan(db)).toHaveLength(20)
    await db.close()
  }))

it('a close waits for an ingest that is being prepared, which then rejects: nothing comes into a folder that was given back', () =>
  onNode(async (environment) => {
    const { fileSystem, folder } = environment
    const path = `${folder}/foreign.sst`
    await writeTable(fileSystem, path, [{ key: bytes('a'), value: bytes('1') }])
    let release = () => {}
    const gate = new Promise<void>((resolve) => {
      release = resolve
    })
    let reached = () => {}
    const isReached = new Promise<void>((resolve) => {
      reached = resolve
    })
    const link = async (from: string, to: string) => {
      reached()
      await gate
      await fileSystem.link(from, to)
    }
    const db = await openDatabase({ ...environment, fileSystem: override(fileSystem, { link }) })
    const prepared = db.prepareIngest([{ path }])
    await isReached
    let isClosed = false
    const closed = db.close().then(() => {
      isClosed = true
    })
    await new Promise((resolve) => setImmediate(resolve))
    expect(isClosed).toBe(false)
    release()
    await expect(prepared).rejects.toThrow('the database is closed')
    await closed
    expect((await fileSystem.list(`${folder}/db`)).filter((name) => name.endsWith('.sst'))).toEqual([])
  }))

it('a close waits for an ingest without a WAL that opens its files still: it, and what is queued behind it, becomes durable', () =>
  onNode(async (environment) => {
    const path = `${environment.folder}/foreign.sst`
    await writeTable(environment.fileSystem, path, [{ key: bytes('b'), value: bytes('1') }])
    const failures: Error[] = []
    const db = await openDatabase(environment, { wal: false, onFailure: (error) => failures.push(error) })
    db.put(bytes('a'), bytes('1'))
    const ingested = db.ingest([{ path }], bytes('m1'))
    db.put(bytes('c'), bytes('1'))
    const sealed = db.seal(bytes('m2'))
    const outcomes = await Promise.allSettled([ingested, sealed, db.close()])
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'fulfilled'])
    expect([failures, db.failed]).toEqual([[], undefined])
    const again = await openDatabase(environment, { wal: false })
    expect(again.durableMark).toEqual(bytes('m2'))
    expect(await scan(again)).toEqual(['a=1', 'b=1', 'c=1'])
    await again.close()
  }))
