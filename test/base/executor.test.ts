import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, afterEach, describe, expect, it } from 'vitest'
import { AssertionError } from '../../base/assert.ts'
import { CorruptionError } from '../../base/errors.ts'
import { InlineExecutor } from '../../base/inline-executor.ts'
import { NodeClock } from '../../base/node-clock.ts'
import { NodeExecutor } from '../../base/node-executor.ts'
import { NodeFileSystem } from '../../base/node-file-system.ts'
import { compile } from './compile.ts'
import { testJobs } from './fixtures/jobs.ts'

const compiled = compile(new URL('./fixtures/worker-entry.ts', import.meta.url))
const entry = compiled.url
afterAll(() => compiled.remove())

let closeAll: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of closeAll) await close()
  closeAll = []
})

function threads(options: { threads?: number; niceness?: number } = {}): NodeExecutor {
  const executor = new NodeExecutor({ entry, ...options })
  closeAll.push(() => executor.close())
  return executor
}

describe('NodeExecutor', { timeout: 30_000 }, () => {
  it('runs a job in another thread and gives its output back', async () => {
    expect(await threads().run('sum', { numbers: new Float64Array([1, 2, 3.5]) })).toEqual({ sum: 6.5 })
  })

  it('shares shared memory instead of copying it', async () => {
    const shared = new SharedArrayBuffer(4)
    await threads().run('fillShared', { shared })
    expect([...new Uint8Array(shared)]).toEqual([7, 7, 7, 7])
  })

  it('tells what its jobs have done, also those of a thread that died', async () => {
    const executor = threads({ threads: 2 })
    expect(executor.doneFor()).toBe(0)
    await Promise.all([5e9, 6e9].map((bytes) => executor.run('did', { bytes })))
    await executor.run('die', null).catch(() => undefined)
    await executor.run('did', { bytes: 1 })
    expect(executor.doneFor()).toBe(11e9 + 1)
  })

  it('rejects a job for which no thread can be started, and closes all the same', async () => {
    const executor = new NodeExecutor({ entry, execArgv: ['--there-is-no-such-flag'] })
    await expect(executor.run('sum', { numbers: new Float64Array([1]) })).rejects.toThrow('--there-is-no-such-flag')
    await executor.close()
  })

  it('has a job wait while there is no descriptor for a thread', async () => {
    const script = compile(new URL('./fixtures/few-descriptors.ts', import.meta.url))
    try {
      const parameters = ['-c', 'ulimit -n 60; exec "$0" "$@"', process.execPath, fileURLToPath(script.url), entry.href]
      const { stdout } = await promisify(execFile)('sh', parameters)
      expect(JSON.parse(stdout)).toEqual({ held: true, result: { sum: 3 } })
    } finally {
      script.remove()
    }
  })

  it('gives a job the files', async () => {
    const folder = await mkdtemp(path.join(os.tmpdir(), 'ostraka-test-'))
    closeAll.push(() => rm(folder, { recursive: true }))
    await writeFile(path.join(folder, 'a'), '12345')
    expect(await threads().run('fileSize', { path: path.join(folder, 'a') })).toBe(5)
  })

  it('rejects with the class and the fields of the job’s error', async () => {
    const executor = threads()
    const corruption = await executor.run('corrupt', null).catch((error: unknown) => error)
    expect(corruption).toBeInstanceOf(CorruptionError)
    expect(corruption).toMatchObject({
      name: 'CorruptionError',
      message: '000007.sst at offset 4096, data block: block checksum does not fit',
      file: '000007.sst',
      offset: 4096,
      block: 'data',
      what: 'block checksum does not fit',
    })
    await expect(executor.run('fileSize', { path: '/no/such/file' })).rejects.toMatchObject({ code: 'ENOENT' })
    await expect(executor.run('unknown', null)).rejects.toBeInstanceOf(AssertionError)
    await expect(executor.run('sum', { numbers: () => 1 })).rejects.toMatchObject({ name: 'DataCloneError' })
  })

  it('rejects the job of a thread that dies, and goes on with a new thread', async () => {
    const executor = threads()
    const dies = executor.run('die', null)
    const next = executor.run('sum', { numbers: new Float64Array([4]) })
    await expect(dies).rejects.toMatchObject({ name: 'RangeError', message: 'thrown outside of any job' })
    expect(await next).toEqual({ sum: 4 })
  })

  it('runs as many jobs at once as it has threads, and all before it closes', async () => {
    const executor = new NodeExecutor({ entry, threads: 2 })
    const jobs = Array.from({ length: 6 }, (_, i) =>
      executor.run<{ numbers: Float64Array }, unknown>('sum', { numbers: new Float64Array([i]) }),
    )
    await executor.close()
    expect(await Promise.all(jobs)).toEqual([0, 1, 2, 3, 4, 5].map((sum) => ({ sum })))
    expect(() => executor.run('sum', null)).toThrow('after close')
  })

  it.runIf(process.platform === 'linux')('lowers the priority of its threads, not of the process', async () => {
    const before = os.getPriority()
    expect(await threads({ niceness: 7 }).run('threadPriority', null)).toBe(Math.min(before + 7, 19))
    expect(os.getPriority()).toBe(before)
  })
})

describe('InlineExecutor', () => {
  const inline = (sliceMs: number) => new InlineExecutor(testJobs, { fileSystem: new NodeFileSystem(), clock: new NodeClock(), sliceMs })

  it('starts a job only after the turn that asked for it', async () => {
    const shared = new SharedArrayBuffer(1)
    const job = inline(2).run('fillShared', { shared })
    await Promise.resolve()
    expect(new Uint8Array(shared)[0]).toBe(0)
    await job
    expect(new Uint8Array(shared)[0]).toBe(7)
  })

  it('tells what its jobs have done', async () => {
    const executor = inline(2)
    for (const bytes of [3, 4]) await executor.run('did', { bytes })
    expect(executor.doneFor()).toBe(7)
  })

  it('lets other work run between the slices of a long job', async () => {
    let turns = 0
    let running = true
    const count = () => {
      turns++
      if (running) setImmediate(count)
    }
    count()
    const pauses = await inline(0).run<{ steps: number }, number>('long', { steps: 50 })
    running = false
    expect(pauses).toBe(50)
    expect(turns).toBeGreaterThanOrEqual(50)
  })

  it('waits for what runs when it closes, and takes no more', async () => {
    const executor = inline(2)
    let ended = false
    const job = executor.run('long', { steps: 2000 }).then(() => {
      ended = true
    })
    await executor.close()
    expect(ended).toBe(true)
    await job
    expect(() => executor.run('long', { steps: 1 })).toThrow('after close')
  })
})
