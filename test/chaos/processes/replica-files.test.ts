import { link, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { filesOfNode } from './replica-files.ts'

it('files of a node: by what they are for, and one of several names once, as a table', async () => {
  const data = await mkdtemp(join(tmpdir(), 'ostraka-files-'))
  try {
    const replica = join(data, 'groups', 'g1@1.1')
    for (const folder of ['log', 'lock']) await mkdir(join(data, folder))
    for (const folder of ['exports/3.1', 'imports/4.1', 'fetch']) await mkdir(join(replica, folder), { recursive: true })
    const write = (path: string, bytes: number) => writeFile(path, Buffer.alloc(bytes))
    await write(join(data, 'reserve'), 1_000_000)
    await write(join(data, 'log', '1.log'), 7)
    await write(join(replica, '000001.sst'), 100)
    await write(join(replica, 'MANIFEST-000001'), 20)
    await link(join(replica, '000001.sst'), join(replica, 'exports/3.1/000001.sst'))
    await write(join(replica, 'exports/3.1/edge.sst'), 3)
    await write(join(replica, 'imports/4.1/000009.sst'), 50)
    await write(join(replica, 'fetch/000002.sst'), 5)
    expect(await filesOfNode(data)).toEqual({ tables: 120, exports: 3, staging: 55, log: 7 })
  } finally {
    await rm(data, { recursive: true })
  }
})
