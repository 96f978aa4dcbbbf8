import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { expect, it } from 'vitest'
import { NodeFileSystem } from '../../base/node-file-system.ts'
import { fileSystemContract } from './file-system-contract.ts'

fileSystemContract('Node', async () => {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'ostraka-test-'))
  return { fileSystem: new NodeFileSystem(), folder, run: (body) => body(), dispose: () => rm(folder, { recursive: true }) }
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

it.runIf(process.platform === 'linux')('a full disk fails a write with ENOSPC', async () => {
  const file = await new NodeFileSystem().open('/dev/full', 'write')
  await expect(file.write([new Uint8Array(1)], 0)).rejects.toMatchObject({ code: 'ENOSPC' })
  await file.close()
})
