import { makeFolderDurably } from '../base/file-system.ts'
import type { Logger } from '../base/logger.ts'
import { type FolderLock, lockFolder } from '../base/node-folder-lock.ts'
import type { Seams } from '../base/seams.ts'
import type { ListenAddress } from '../base/transport.ts'
import type { ProcessSettings, RunningProcess } from '../raft/process.ts'
import { asDiskError, type ExitCode, exitCode } from './exit-code.ts'
import type { HttpEndpoint } from './http-endpoint.ts'
import type { TuningFlags } from './settings.ts'
import type { World } from './world.ts'

/** After a signal: a process that has not ended by then is ended. */
const CLOSE_MS = 5_000

export interface ProcessFlags extends TuningFlags {
  readonly id: string
  readonly listen: readonly ListenAddress[]
  readonly advertise?: readonly ListenAddress[] | undefined
  readonly data: string
  readonly http?: string | undefined
}

export interface ShellOptions {
  readonly flags: ProcessFlags
  /** Also end when stdin does, and leave ^C to the one who holds its other end: so no child outlives `up`. */
  readonly untilStdinEnds: boolean
  readonly start: (settings: ProcessSettings, seams: Seams, onFatal: (error: Error) => void) => Promise<RunningProcess>
  /** What the process does beside, from when it is ready until `signal`; not waited for then, so it must touch no file. It may fail: the process goes on. */
  readonly aside?: (seams: Seams, signal: AbortSignal) => Promise<void>
}

/**
 * What stands around a server process: the folder's lock, the HTTP endpoint, the ready line, signals and the exit code. Resolves with the
 * exit code once everything is closed; rejects with what kept it from starting.
 */
export async function runProcess(world: World, options: ShellOptions): Promise<ExitCode> {
  const { flags } = options
  const seams = await world.seams(flags['log-level'], { id: flags.id })
  const stop = new StopRequest(options)
  const ending = new AbortController()
  let lock: FolderLock | undefined
  let http: HttpEndpoint | undefined
  let running: RunningProcess | undefined
  try {
    await makeFolderDurably(seams.fileSystem, flags.data)
    lock = await lockFolder(flags.data)
    if (flags.http !== undefined) http = await openHttp(flags.http, seams.logger)
    const starting = options.start(settingsOf(flags, http?.address ?? ''), seams, (error) => stop.fail(error))
    running = await Promise.race([starting, stop.requested.then(() => undefined)])
    if (running === undefined) {
      // Stopped while it was starting: what it has opened is closed once it is there, within the time that a close may take.
      void starting.then((late) => late.close()).catch(() => {})
    } else {
      http?.observe(running)
      world.stdout.write(`${JSON.stringify(readyLine(flags, running, http))}\n`)
      options.aside?.(seams, ending.signal).catch((error: unknown) => {
        if (!ending.signal.aborted) seams.logger.warn({ error: String(error) }, 'what the process does beside failed')
      })
      await stop.requested
      seams.logger.info({}, 'closing')
    }
  } catch (error) {
    throw asDiskError(error)
  } finally {
    ending.abort()
    // What fails while closing must not hide why it came to that.
    const closing = closeAll(world, running, http, seams, lock).catch((error: Error) => stop.fail(error))
    await within(CLOSE_MS, closing, () => {
      seams.logger.error({}, `not closed after ${CLOSE_MS} ms: ending`)
    })
    stop.dispose()
  }
  return stop.outcome()
}

async function openHttp(address: string, logger: Logger): Promise<HttpEndpoint> {
  const { HttpEndpoint } = await import('./http-endpoint.ts')
  return await HttpEndpoint.open(address, logger)
}

async function closeAll(
  world: World,
  running: RunningProcess | undefined,
  http: HttpEndpoint | undefined,
  seams: Seams,
  lock: FolderLock | undefined,
): Promise<void> {
  // Others lead now what it led, and need the processor for it.
  await running?.close(() => world.yieldProcessor())
  await http?.close()
  await seams.executor.close()
  await lock?.release()
}

function readyLine(flags: ProcessFlags, running: RunningProcess, http: HttpEndpoint | undefined): object {
  const address = running.addresses[0]?.address ?? ''
  return { ready: true, id: flags.id, address, ...(http === undefined ? {} : { http: http.address }) }
}

function settingsOf(flags: ProcessFlags, http: string): ProcessSettings {
  return {
    id: flags.id,
    listen: flags.listen,
    advertise: flags.advertise ?? [],
    data: flags.data,
    pid: process.pid,
    http,
    electionTimeoutMs: flags['election-timeout-ms'],
    heartbeatMs: flags['heartbeat-ms'],
    snapshotLogBytes: flags['snapshot-log-bytes'],
    snapshotBytesPerSecond: flags['snapshot-bytes-per-second'],
    memtableBytes: flags['memtable-bytes'],
    blockCacheBytes: flags['block-cache-bytes'],
    diskReserveBytes: flags['disk-reserve-bytes'],
    readMode: flags['read-mode'],
  }
}

/** Why a process is to end: a signal, the end of stdin, or an error that it cannot live with. */
class StopRequest {
  readonly requested: Promise<void>
  #resolve: () => void = () => {}
  #fatal: Error | undefined
  #signals = 0
  readonly #dispose: (() => void)[] = []

  constructor(options: { untilStdinEnds: boolean }) {
    this.requested = new Promise((resolve) => {
      this.#resolve = resolve
    })
    this.#on('SIGTERM', () => this.#signal())
    // ^C reaches the whole process group; then `up` tells us what is to be done.
    this.#on('SIGINT', options.untilStdinEnds ? () => {} : () => this.#signal())
    if (!options.untilStdinEnds) return
    process.stdin.on('end', this.#resolve)
    process.stdin.on('close', this.#resolve)
    process.stdin.on('error', this.#resolve)
    process.stdin.resume()
    this.#dispose.push(() => process.stdin.destroy())
  }

  fail(error: Error): void {
    this.#fatal ??= error
    this.#resolve()
  }

  /** Throws the error that ended the process, if one did. */
  outcome(): ExitCode {
    if (this.#fatal !== undefined) throw asDiskError(this.#fatal)
    return exitCode.done
  }

  dispose(): void {
    for (const dispose of this.#dispose) dispose()
  }

  #on(event: 'SIGINT' | 'SIGTERM', listener: () => void): void {
    process.on(event, listener)
    this.#dispose.push(() => process.off(event, listener))
  }

  #signal(): void {
    this.#signals++
    if (this.#signals > 1) process.exit(exitCode.failed)
    this.#resolve()
  }
}

/** Resolves with `promise`, or after `timeoutMs` calls `late` and resolves. */
async function within(timeoutMs: number, promise: Promise<void>, late: () => void): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise<void>((resolve) => {
    timer = setTimeout(() => {
      late()
      resolve()
    }, timeoutMs)
  })
  await Promise.race([promise, timeout])
  clearTimeout(timer)
}
