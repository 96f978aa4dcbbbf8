import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, rmSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { FolderLockedError, lockFolder } from '../../base/node-folder-lock.ts'
import { compile } from './compile.ts'

const compiled = compile(new URL('./fixtures/lock-holder.ts', import.meta.url))
afterAll(() => compiled.remove())

let folder = ''
let children: ChildProcess[] = []
beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'ostraka-test-'))
})
afterEach(async () => {
  for (const child of children) {
    if (child.exitCode !== null || child.signalCode !== null) continue
    const ended = once(child, 'exit')
    child.kill('SIGKILL')
    await ended
  }
  children = []
  await rm(folder, { recursive: true, force: true })
})

/** Starts a process that takes the folder; resolves with it and its first line. */
async function start(): Promise<{ child: ChildProcess; line: string }> {
  const child = spawn(process.execPath, [fileURLToPath(compiled.url), folder], { stdio: ['pipe', 'pipe', 'inherit'] })
  children.push(child)
  const [line] = await once(createInterface({ input: child.stdout }), 'line')
  return { child, line: String(line) }
}

async function kill(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  const ended = once(child, 'exit')
  child.kill(signal)
  await ended
}

describe('lockFolder', { timeout: 30_000 }, () => {
  it('outlives connections that it cannot take', async () => {
    const made = vi.spyOn(net, 'createServer')
    const lock = await lockFolder(folder)
    const server = made.mock.results[0]?.value as net.Server
    made.mockRestore()
    for (let i = 0; i < 2; i++) expect(() => server.emit('error', new Error('accept EMFILE'))).not.toThrow()
    await expect(lockFolder(folder)).rejects.toBeInstanceOf(FolderLockedError)
    await lock.release()
  })

  it('refuses a second process and names the holder', async () => {
    const first = await start()
    expect(first.line).toBe('held')
    expect((await start()).line).toBe(`refused ${first.child.pid}`)
    await expect(lockFolder(folder)).rejects.toThrow(`${folder} is in use by process ${first.child.pid}`)
  })

  it('refuses a second holder in the same process: the pid decides nothing', async () => {
    const lock = await lockFolder(folder)
    await expect(lockFolder(folder)).rejects.toBeInstanceOf(FolderLockedError)
    await lock.release()
    await (await lockFolder(folder)).release()
  })

  it('does not refuse a restart at once after kill -9', async () => {
    for (let round = 0; round < 3; round++) {
      const { child, line } = await start()
      expect(line).toBe('held')
      await kill(child, 'SIGKILL')
    }
    const lock = await lockFolder(folder)
    expect((await readdir(path.join(folder, 'lock'))).length).toBe(1)
    await lock.release()
  })

  it('refuses while the holder is stopped and cannot answer', async () => {
    const { child } = await start()
    child.kill('SIGSTOP')
    await expect(lockFolder(folder)).rejects.toMatchObject({ pid: child.pid })
    child.kill('SIGCONT')
  })

  it('gives the folder free on release and leaves nothing behind', async () => {
    const { child } = await start()
    const ended = once(child, 'exit')
    child.stdin?.write('release\n')
    await ended
    expect(await readdir(path.join(folder, 'lock'))).toEqual([])
    await (await lockFolder(folder)).release()
  })

  it('lets exactly one of many that start at the same moment have it', async () => {
    for (let round = 0; round < 20; round++) {
      const outcomes = await Promise.allSettled(Array.from({ length: 8 }, () => lockFolder(folder)))
      const held = outcomes.filter((outcome) => outcome.status === 'fulfilled')
      expect(held.length).toBe(1)
      for (const outcome of outcomes) {
        if (outcome.status === 'rejected') expect(outcome.reason).toBeInstanceOf(FolderLockedError)
        else await outcome.value.release()
      }
    }
  })

  it('begins again where the holder swept it away before it had its name', async () => {
    const locking = lockFolder(folder)
    const lock = path.join(folder, 'lock')
    const starting = readdirSync(lock).filter((name) => name.startsWith('starting-'))
    expect(starting).toHaveLength(1)
    // Between `listen` and the rename, as the holder's sweep does.
    for (const name of starting) rmSync(path.join(lock, name))
    const held = await locking
    expect(await readdir(lock)).toHaveLength(1)
    await held.release()
  })

  it('lets exactly one of several processes that start at the same moment have it, also over a dead one’s socket', async () => {
    const dead = await start()
    await kill(dead.child, 'SIGKILL')
    const lines = (await Promise.all(Array.from({ length: 4 }, () => start()))).map((started) => started.line)
    expect(lines.filter((line) => line === 'held').length).toBe(1)
    expect(lines.filter((line) => line.startsWith('refused ')).length).toBe(3)
  })

  it('copes with a folder whose path is longer than a socket address', async () => {
    folder = path.join(folder, 'd'.repeat(100), 'e'.repeat(100))
    await mkdir(folder, { recursive: true })
    const lock = await lockFolder(folder)
    await expect(lockFolder(folder)).rejects.toBeInstanceOf(FolderLockedError)
    await lock.release()
  })
})
