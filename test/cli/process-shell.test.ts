import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { DataDirectoryMismatch, DiskError } from '../../base/errors.ts'
import { exitCode, failureOf } from '../../cli/exit-code.ts'
import { runProcess, type ShellOptions } from '../../cli/process-shell.ts'
import { resolveSettings, serverSchema } from '../../cli/settings.ts'
import { FakeWorld } from './fake-world.ts'

let folder = ''
let world = new FakeWorld()
beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'ostraka-shell-'))
  world = new FakeWorld()
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

/** A shell around a process that only says what was done to it. */
function shell(start?: ShellOptions['start']) {
  const log: string[] = []
  let fatal: (error: Error) => void = () => {}
  const flags = resolveSettings(serverSchema, {
    flags: { id: 'n1', listen: ['127.0.0.1:0'], controllers: '127.0.0.1:1', data: path.join(folder, 'n1'), http: '127.0.0.1:0' },
    environment: {},
    file: undefined,
  })
  const options: ShellOptions = {
    flags,
    untilStdinEnds: false,
    start:
      start ??
      (async (settings, _seams, onFatal) => {
        fatal = onFatal
        log.push(`started ${settings.id}, ${settings.electionTimeoutMs}, http ${settings.http !== ''}`)
        return {
          addresses: [{ name: 'default', address: '127.0.0.1:7410' }],
          ready: () => true,
          status: () => world.nodeStatus('', {}, 0),
          transferLeader: () => world.transferLeader('', {}, 0),
          close: async (onUnneeded = () => {}) => {
            log.push(`closing, yields ${world.yieldsProcessor}`)
            onUnneeded()
            log.push(`closed, yields ${world.yieldsProcessor}`)
          },
        }
      }),
  }
  return { log, options, fail: (error: Error) => fatal(error) }
}

async function readyLine(): Promise<Record<string, unknown>> {
  await expect.poll(() => world.stdout.readableLength).toBeGreaterThan(0)
  return JSON.parse((world.stdout.read() as Buffer).toString()) as Record<string, unknown>
}

it('prints the ready line, serves HTTP, and closes at SIGTERM', async () => {
  const { log, options } = shell()
  const running = runProcess(world, options)
  const line = await readyLine()
  expect(line).toMatchObject({ ready: true, id: 'n1', address: '127.0.0.1:7410' })
  expect((await fetch(`http://${line.http}/readyz`)).status).toBe(200)
  process.emit('SIGTERM')
  expect(await running).toBe(exitCode.done)
  expect(log).toEqual(['started n1, 1000, http true', 'closing, yields false', 'closed, yields true'])
  await expect(fetch(`http://${line.http}/livez`)).rejects.toThrow()
})

it('does something beside until it is told to stop, and goes on where that fails', async () => {
  const { log, options } = shell()
  let ended = Promise.resolve('')
  const aside: ShellOptions['aside'] = (_seams, signal) => {
    log.push(`beside, aborted ${signal.aborted}`)
    ended = new Promise((resolve) => signal.addEventListener('abort', () => resolve(log.at(-1) ?? '')))
    return Promise.reject(new Error('it fails'))
  }
  const running = runProcess(world, { ...options, aside })
  const line = await readyLine()
  expect((await fetch(`http://${line.http}/readyz`)).status).toBe(200)
  process.emit('SIGTERM')
  expect(await running).toBe(exitCode.done)
  expect(await ended, 'told before the process closes').toBe('beside, aborted false')
  expect(log).toEqual(['started n1, 1000, http true', 'beside, aborted false', 'closing, yields false', 'closed, yields true'])
})

it('refuses a folder that a running process has, and takes it when that one has ended', async () => {
  const first = shell()
  const running = runProcess(world, first.options)
  await readyLine()
  const second = shell()
  await expect(runProcess(world, second.options)).rejects.toMatchObject({ name: 'FolderLockedError' })
  expect(second.log).toEqual([])
  process.emit('SIGTERM')
  await running
  const third = runProcess(world, second.options)
  await readyLine()
  process.emit('SIGINT')
  expect(await third).toBe(exitCode.done)
})

it('closes, and rejects with what the process cannot live with', async () => {
  const { log, options, fail } = shell()
  const running = runProcess(world, options)
  await readyLine()
  const error = new DiskError('fsync of log/1 failed')
  fail(error)
  await expect(running).rejects.toBe(error)
  expect(log.at(-1)).toBe('closed, yields true')
  expect(failureOf(error)).toMatchObject({ exitCode: 74, code: 'DISK_ERROR' })
})

it('tells why it had to end, not what then failed while it closed', async () => {
  const fatal = new DiskError('fsync of log/1 failed')
  for (const failure of [fatal, undefined]) {
    const { options } = shell(async (_settings, _seams, onFatal) => {
      if (failure !== undefined) onFatal(failure)
      return {
        addresses: [],
        ready: () => true,
        status: () => world.nodeStatus('', {}, 0),
        transferLeader: () => world.transferLeader('', {}, 0),
        close: () => Promise.reject(new Error('cannot close')),
      }
    })
    const running = runProcess(world, options)
    if (failure === undefined) {
      await readyLine()
      process.emit('SIGTERM')
    }
    await expect(running).rejects.toThrow(failure === undefined ? 'cannot close' : 'fsync of log/1 failed')
    world = new FakeWorld()
    rmSync(path.join(folder, 'n1'), { recursive: true, force: true })
  }
})

it('ends with 74 where the system says that the disk takes nothing, at the start and later', async () => {
  const full = Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' })
  const atStart = await runProcess(world, shell(() => Promise.reject(full)).options).catch((error: unknown) => error)
  expect(failureOf(atStart)).toMatchObject({ exitCode: 74, message: full.message })
  const { options, fail } = shell()
  const running = runProcess(world, options).catch((error: unknown) => error)
  await readyLine()
  fail(full)
  expect(failureOf(await running).exitCode).toBe(74)
})

it('gives the folder and the HTTP port free when the start fails', async () => {
  const error = new DataDirectoryMismatch('this is the folder of n2')
  const { options } = shell(() => Promise.reject(error))
  for (let attempt = 0; attempt < 2; attempt++) await expect(runProcess(world, options)).rejects.toBe(error)
  expect(failureOf(error).exitCode).toBe(78)
  expect(world.stdout.readableLength).toBe(0)
})

it('ends at a signal while it is still starting, and closes what comes up late', async () => {
  let up: () => void = () => {}
  let closed = false
  const { options } = shell(
    () =>
      new Promise((resolve) => {
        up = () =>
          resolve({
            addresses: [],
            ready: () => false,
            status: () => world.nodeStatus('', {}, 0),
            transferLeader: () => world.transferLeader('', {}, 0),
            close: async () => {
              closed = true
            },
          })
      }),
  )
  const listeners = process.listenerCount('SIGTERM')
  const running = runProcess(world, options)
  await expect.poll(() => process.listenerCount('SIGTERM')).toBe(listeners + 1)
  process.emit('SIGTERM')
  expect(await running).toBe(exitCode.done)
  expect(process.listenerCount('SIGTERM')).toBe(listeners)
  up()
  await expect.poll(() => closed).toBe(true)
})
