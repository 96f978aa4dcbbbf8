import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { FileSystem } from '../../../base/file-system.ts'
import { WriteBatch } from '../../../lsm/index.ts'
import { bytes } from '../model.ts'
import { Stage } from './stage.ts'
import { stories } from './stories.ts'

/** What the file begins with: the story, which only people write. */
function storyOf(file: string): string[] {
  const lines = readFileSync(file, 'utf8').split('\n')
  const end = lines.findIndex((line) => !line.startsWith('#'))
  return lines.slice(0, end)
}

/**
 * After a change on purpose: `npx vitest run test/lsm/traces -u` writes what the trace now is below each story. Read the diff before it is kept:
 * does the story still hold?
 */
describe('the order of operations on files', () => {
  it.each(Object.keys(stories))('%s', async (name) => {
    const file = join(import.meta.dirname, `${name}.txt`)
    const stage = new Stage()
    await stories[name]?.(stage)
    await stage.close()
    const story = storyOf(file)
    expect(story.length, 'the story that the file begins with').toBeGreaterThanOrEqual(2)
    await expect(`${[...story, ...stage.lines].join('\n')}\n`).toMatchFileSnapshot(file)
    expect(stage.order.violations).toEqual([])
    expect(stage.order.checks).toBeGreaterThan(0)
  })
})

/** A file system of which one method does nothing. */
function lazy(fileSystem: FileSystem, isLazy: (path: string) => boolean): FileSystem {
  return new Proxy(fileSystem, {
    get: (target, name) => {
      const method = Reflect.get(target, name)
      if (name === 'syncFolder') return (path: string) => (isLazy(path) ? Promise.resolve() : target.syncFolder(path))
      return typeof method === 'function' ? method.bind(target) : method
    },
  })
}

it('an order in which tables are named before their folder is synced is found', async () => {
  const stage = new Stage((fileSystem) => lazy(fileSystem, (path) => path === 'data/db'))
  const db = await stage.open()
  await db.write(new WriteBatch().put(bytes('a'), bytes('1')))
  await db.flush()
  await db.close()
  await stage.close()
  expect(stage.order.violations.join('\n')).toMatch(
    /the edit in data\/db\/MANIFEST-\d+ names data\/db\/\d+\.sst before its folder is synced/,
  )
})
