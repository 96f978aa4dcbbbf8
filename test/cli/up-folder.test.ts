import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { openUpFolder } from '../../cli/up-folder.ts'

const shape = { nodes: 3, groups: 3, replicas: 3, shards: 256 }
let parent = ''
let folder = ''
beforeEach(() => {
  parent = mkdtempSync(path.join(os.tmpdir(), 'ostraka-up-'))
  folder = path.join(parent, 'data')
})
afterEach(() => rmSync(parent, { recursive: true, force: true }))

async function make(asked = shape, explicit: string[] = [], fresh = false) {
  const opened = await openUpFolder(folder, { shape: asked, explicit: new Set(explicit) }, fresh)
  await opened.lock.release()
  opened.mark()
  return opened
}

it('goes on with the shape of the data where the flags were not given', async () => {
  expect((await make({ ...shape, nodes: 5 })).used).toBe(false)
  const again = await make(shape, ['groups'])
  expect(again).toMatchObject({ used: true, shape: { ...shape, nodes: 5 } })
})

it('binds nothing before it is marked', async () => {
  const opened = await openUpFolder(folder, { shape, explicit: new Set() }, false)
  await opened.lock.release()
  expect((await make({ ...shape, nodes: 1 }, ['nodes'])).shape.nodes).toBe(1)
})

it('refuses flags that contradict the data with 78, and names them all', async () => {
  await make()
  const refused = make({ ...shape, nodes: 5, shards: 512 }, ['nodes', 'shards', 'groups'])
  await expect(refused).rejects.toMatchObject({ exitCode: 78, message: expect.stringMatching(/--nodes 5.*has 3.*--shards 512.*has 256/) })
})

it('deletes with fresh, but only what up made', async () => {
  await make()
  mkdirSync(path.join(folder, 'c1'))
  expect((await make({ ...shape, nodes: 1 }, ['nodes'], true)).shape.nodes).toBe(1)
  expect(existsSync(path.join(folder, 'c1'))).toBe(false)
  rmSync(folder, { recursive: true })
  mkdirSync(folder)
  writeFileSync(path.join(folder, 'mine'), 'precious')
  for (const fresh of [true, false]) await expect(make(shape, [], fresh)).rejects.toMatchObject({ exitCode: 78 })
  expect(readdirSync(folder)).toEqual(['mine'])
})

it('refuses a folder that another process has, also with fresh, and deletes nothing then', async () => {
  await make()
  const holder = await openUpFolder(folder, { shape, explicit: new Set() }, false)
  await expect(make(shape, [], true)).rejects.toMatchObject({ name: 'FolderLockedError' })
  expect(existsSync(path.join(folder, 'up.json'))).toBe(true)
  await holder.lock.release()
  await make(shape, [], true)
})

it('says that the marker is damaged with 65', async () => {
  await make()
  writeFileSync(path.join(folder, 'up.json'), '{"version":1')
  await expect(make()).rejects.toMatchObject({ exitCode: 65 })
})
