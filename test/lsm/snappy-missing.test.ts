import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { afterAll, expect, it } from 'vitest'
import type { Damage } from '../../lsm/index.ts'
import { compile } from '../base/compile.ts'
import { onNode } from './environment.ts'
import { bytes, scan } from './model.ts'

// The engine in a folder from which no package is found.
const compiled = compile(new URL('../../lsm/index.ts', import.meta.url), new URL('../../lsm/worker.ts', import.meta.url))
const bare = mkdtempSync(path.join(os.tmpdir(), 'ostraka-bare-'))
cpSync(path.dirname(path.dirname(fileURLToPath(compiled.url))), bare, { recursive: true })
compiled.remove()
afterAll(() => rmSync(bare, { recursive: true }))
const engine: typeof import('../../lsm/index.ts') = await import(pathToFileURL(path.join(bare, 'lsm', 'index.js')).href)

const hint = "the package 'snappy' cannot be loaded: npm install snappy"

it('without the package, only what needs it is refused, by name, and nothing is taken for damage', () =>
  onNode(async ({ fileSystem, folder }) => {
    const db = `${folder}/db`
    await expect(engine.openDatabase(db, { compression: 'snappy' })).rejects.toThrow(RangeError)
    await expect(engine.openDatabase(db, { compression: 'snappy' })).rejects.toThrow(`compression 'snappy': ${hint}`)
    const entry = { key: bytes('a'), value: bytes('b') }
    const asked = { blockBytes: 4096, bloomBitsPerKey: 10, compression: 'snappy' } as const
    await expect(engine.writeTable(fileSystem, `${folder}/t`, [entry], asked)).rejects.toThrow(hint)
    expect(await fileSystem.list(folder)).toEqual([])

    cpSync(fileURLToPath(new URL('../fixtures/lsm/v1/snappy-blocks', import.meta.url)), db, { recursive: true })
    const damages: Damage[] = []
    await engine.verifyDatabase(fileSystem, db, { onDamage: (damage) => damages.push(damage) })
    expect(damages.length).toBeGreaterThan(0)
    for (const { isNewer, what } of damages) expect([isNewer, what]).toEqual([true, `compression 2 (snappy): ${hint}`])
    const opened = await engine.openDatabase(db, { compression: 'deflate' })
    await expect(scan(opened)).rejects.toMatchObject({ name: 'NewerFormatError', what: `compression 2 (snappy): ${hint}` })
    expect(() => {
      for (let i = 0; i < 60; i++) opened.getSync(bytes(`key${i}`))
    }).toThrow(hint)
    await opened.write(new engine.WriteBatch().put(bytes('key1'), bytes('new')))
    expect(opened.getSync(bytes('key1'))).toEqual(bytes('new'))
    await opened.close()
  }))
