import { execFile } from 'node:child_process'
import fs from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { expect, it, vi } from 'vitest'
import { NodeFileSystem } from '../../base/node-file-system.ts'
import { fileSystemContract } from './file-system-contract.ts'

for (const readsHere of [false, true])
  fileSystemContract(readsHere ? 'Node, reads in the thread that asks' : 'Node', async () => {
    const folder = await mkdtemp(path.join(os.tmpdir(), 'ostraka-test-'))
    return { fileSystem: new NodeFileSystem({ readsHere }), folder, run: (body) => body(), dispose: () => rm(folder, { recursive: true }) }
  })

it('closing a file waits for the operations under way', async () => {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'ostraka-test-'))
  try {
    const file = await new NodeFileSystem().open(path.join(folder, 'a'), 'create')
    let written = false
    const write = file.write([new Uint8Array(1 << 20)], 0).then(() => {
      written = true
    })
    await file.close()
    expect(written).toBe(true)
    await write
  } finally {
    await rm(folder, { recursive: true })
  }
})

it('closing a file waits for a read that waits for its turn', async () => {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'ostraka-test-'))
  try {
    const file = await new NodeFileSystem().open(path.join(folder, 'a'), 'create')
    await file.write([new Uint8Array([7])], 0)
    const target = new Uint8Array(1)
    // Until this turn has had its share.
    while (file.readNow(target, 0) !== undefined);
    target[0] = 0
    const read = file.read(target, 0)
    await file.close()
    expect(target[0]).toBe(7)
    expect(await read).toBe(1)
  } finally {
    await rm(folder, { recursive: true })
  }
})

it('a turn that has had its share of reads is followed by one in which they go on', async () => {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'ostraka-test-'))
  try {
    const file = await new NodeFileSystem().open(path.join(folder, 'a'), 'create')
    await file.write([new Uint8Array([7])], 0)
    const target = new Uint8Array(1)
    expect(file.nextTurn?.()).toBeUndefined()
    // A read that was interrupted makes a debt, which tries repay: they go on until it is only the turn that is over.
    let turn: Promise<void> | undefined
    do {
      while (file.readNow(target, 0) !== undefined);
      turn = file.nextTurn?.()
    } while (turn === undefined)
    await turn
    expect(file.readNow(target, 0)).toBe(1)
    await file.close()
  } finally {
    await rm(folder, { recursive: true })
  }
})

it.runIf(process.platform === 'linux')('a full disk fails a write with ENOSPC', async () => {
  const file = await new NodeFileSystem().open('/dev/full', 'write')
  await expect(file.write([new Uint8Array(1)], 0)).rejects.toMatchObject({ code: 'ENOSPC' })
  await file.close()
})

it('a folder is removed also where a call under way still makes files in it', async () => {
  const fileSystem = new NodeFileSystem()
  const parent = await mkdtemp(path.join(os.tmpdir(), 'ostraka-test-'))
  const folder = path.join(parent, 'fetch')
  /** Makes files until the folder is gone, at most so many. */
  const fill = async () => {
    for (let i = 0; i < 40; i++) {
      const file = await fileSystem.open(path.join(folder, String(i)), 'create').catch(() => undefined)
      if (file === undefined) return
      await file.close()
    }
  }
  try {
    for (let round = 0; round < 20; round++) {
      await fileSystem.makeFolder(folder)
      await Promise.all([fileSystem.removeFolder(folder), fill()])
      expect(await fileSystem.exists(folder), `round ${round}`).toBe(false)
    }
  } finally {
    await rm(parent, { recursive: true, force: true, maxRetries: 5 })
  }
})

it('a read that Node refuses at once rejects, and keeps no close waiting', async () => {
  const file = await new NodeFileSystem().open('/dev/null', 'read')
  await expect(file.read('no buffer' as never, 0)).rejects.toBeInstanceOf(TypeError)
  await file.close()
})

async function inFolder(body: (folder: string, fileSystem: NodeFileSystem) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'ostraka-test-'))
  try {
    await body(folder, new NodeFileSystem())
  } finally {
    await rm(folder, { recursive: true })
  }
}

it('an open, and a sync of a folder, wait for a descriptor where none is left', () =>
  inFolder(async (folder, fileSystem) => {
    await writeFile(path.join(folder, 'a'), 'abc')
    const { open } = fs
    let refused = 0
    const spy = vi.spyOn(fs, 'open').mockImplementation(((...parameters: Parameters<typeof open>) => {
      if (refused++ % 4 === 3) return open(...parameters)
      const error = Object.assign(new Error('EMFILE: too many open files'), { code: refused % 2 === 0 ? 'EMFILE' : 'ENFILE' })
      process.nextTick(parameters.at(-1) as unknown as (error: Error) => void, error)
    }) as typeof open)
    try {
      const file = await fileSystem.open(path.join(folder, 'a'), 'read')
      expect(await file.size()).toBe(3)
      await file.close()
      await fileSystem.syncFolder(folder)
      expect(refused).toBe(8)
    } finally {
      spy.mockRestore()
    }
  }))

it('what the system refuses of an open file names it', () =>
  inFolder(async (folder, fileSystem) => {
    const file = await fileSystem.open(folder, 'read')
    const target = new Uint8Array(10)
    const named = expect.objectContaining({ code: 'EISDIR', path: folder, message: expect.stringContaining(`'${folder}'`) })
    await expect(file.read(target, 0)).rejects.toEqual(named)
    expect(() => file.readSync?.(target, 0)).toThrow(named)
    await file.close()
  }))

it('an open of a FIFO does not wait for the other end', () =>
  inFolder(async (folder, fileSystem) => {
    const fifo = path.join(folder, 'fifo')
    await promisify(execFile)('mkfifo', [fifo])
    const file = await fileSystem.open(fifo, 'read')
    await expect(file.read(new Uint8Array(1), 0)).rejects.toMatchObject({ code: 'ESPIPE', path: fifo })
    await file.close()
  }))

it('a folder that a file system refuses, though its parent is there, is an error', async () => {
  await expect(new NodeFileSystem().makeFolder('/proc/nope/below')).rejects.toMatchObject({ code: 'ENOENT' })
})

it('a folder in the place of a file is an error, one that is there is none', () =>
  inFolder(async (folder, fileSystem) => {
    await writeFile(path.join(folder, 'a'), 'abc')
    await expect(fileSystem.makeFolder(path.join(folder, 'a'))).rejects.toMatchObject({ code: 'EEXIST' })
    await expect(fileSystem.makeFolder(path.join(folder, 'a', 'b'))).rejects.toMatchObject({ code: 'ENOTDIR' })
  }))

it('folders that are made at once, whose parents are not there, come to be', () =>
  inFolder(async (folder, fileSystem) => {
    // Whoever is told that the parent is missing may find it a moment later: a replica of each group begins so.
    for (let round = 0; round < 50; round++) {
      const names = Array.from({ length: 8 }, (_, i) => String(i % 6))
      const parent = path.join(folder, String(round), 'groups')
      await Promise.all(names.map((name) => fileSystem.makeFolder(path.join(parent, name))))
      expect(await fileSystem.list(parent)).toEqual(['0', '1', '2', '3', '4', '5'])
    }
  }))
