import { expect, it } from 'vitest'
import { utf8 } from '../../base/bytes.ts'
import { WriteBatch } from '../../lsm/index.ts'
import { environmentOf, onNode, openDatabase, simulate } from './environment.ts'
import { scan } from './model.ts'

it('a checkpoint that fails at any of its file operations leaves nothing in its folder, and can be made again', async () => {
  const { world, process: machine, disk } = simulate(5)
  const environment = environmentOf(machine)
  const db = await world.settle(openDatabase(environment))
  for (const round of [1, 2]) {
    await world.settle(Promise.resolve(db.write(new WriteBatch().put(utf8(`k${round}`), new Uint8Array(100)))))
    await world.settle(db.flush())
  }
  const folder = `${environment.folder}/copy`
  let failures = 0
  for (let at = 1; ; at++) {
    let count = 0
    // Removing what was made is the one thing that must not fail.
    disk.inject = ({ kind, path }) => (path.includes('copy') && kind !== 'unlink' && ++count === at ? 'EIO' : undefined)
    const failed = await world.settle(
      db.checkpoint(folder).then(
        () => false,
        () => true,
      ),
    )
    disk.inject = undefined
    if (!failed) break
    failures++
    const exists = await world.settle(environment.fileSystem.exists(folder))
    expect(exists ? await world.settle(environment.fileSystem.list(folder)) : [], `operation ${at}`).toEqual([])
  }
  expect(failures).toBeGreaterThan(10)
  expect(await world.settle(environment.fileSystem.list(folder))).toContain('CURRENT')
  await world.settle(db.close())
})

it.each([true, false])('a close waits for a checkpoint, which is whole then, with a WAL: %s', (wal) =>
  onNode(async (environment) => {
    const db = await openDatabase(environment, { wal })
    for (const key of ['a', 'b']) {
      await db.write(new WriteBatch().put(utf8(key), utf8('1')))
      await (wal ? db.flush() : db.seal(utf8(key)))
    }
    let isMade = false
    const made = db.checkpoint(`${environment.folder}/copy/db`).then(() => {
      isMade = true
    })
    await db.close()
    expect(isMade).toBe(true)
    await made
    const copy = await openDatabase({ ...environment, folder: `${environment.folder}/copy` }, { wal })
    expect(await scan(copy)).toEqual(['a=1', 'b=1'])
    await copy.close()
  }),
)
