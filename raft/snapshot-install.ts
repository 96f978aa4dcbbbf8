import { type Clock, sleepUnless } from '../base/clock.ts'
import { DiskError, systemErrorCode } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import { OstrakaError } from '../proto/errors.ts'
import type { FileSet } from './file-set.ts'
import { decodeSnapshot } from './snapshot-description.ts'
import type { Standing } from './standing.ts'
import type { ExportedSnapshot, StateMachine } from './state-machine.ts'

/** No peer had the snapshot: the next round comes after this, and after twice as long up to the most. */
const retryMsMin = 200
const retryMsMax = 5000
/** What an earlier process fetched is removed when no snapshot was wanted for so long. */
const leftoverMs = 60_000

/** How a replica gets files from its peers. */
export interface SnapshotPeers {
  /** Pulls a snapshot at `minIndex` or later from replica `peer`; goes on where an earlier call ended. Rejects as `fetchFiles` does. */
  fetch(peer: number, minIndex: number, signal: AbortSignal): Promise<FileSet>
  /** Removes what was pulled. */
  discard(): Promise<void>
}

export interface SnapshotInstallOptions {
  readonly clock: Clock
  readonly logger: Logger
  readonly peers: SnapshotPeers
  readonly stateMachine: Pick<StateMachine<unknown>, 'installSnapshot'>
  readonly pump: { readonly applied: number; pause(): Promise<void>; resume(): void }
  /** Whom to ask, the likeliest first. */
  candidates(): readonly number[]
  /** The state machine stands, durably, at `meta`; nothing is being applied. */
  onInstalled(meta: Standing): void
  /** What the leader offered is not installed: it may offer again. */
  onDeclined(): void
  /** The replica cannot go on. */
  onFailed(error: Error): void
}

/**
 * Replaces the state machine's state by a peer's, either because the leader offered that (its log no longer reaches back to this replica) or
 * because an entry cannot be applied without it. One at a time.
 */
export class SnapshotInstall {
  readonly #options: SnapshotInstallOptions
  readonly #abort = new AbortController()
  /** The least index that is of use; 0: none is wanted. */
  #wanted = 0
  /** Without it nothing more is applied: tried until it is there. */
  #isNeeded = false
  #isOffered = false
  #running = false
  #retryMs = retryMsMin

  constructor(options: SnapshotInstallOptions) {
    this.#options = options
    const timer = options.clock.setTimer(leftoverMs, () => this.#begin())
    this.#abort.signal.addEventListener('abort', () => timer.cancel())
  }

  /** The leader has offered a snapshot at `index`. Ends with `onInstalled` or `onDeclined`. */
  offered(index: number): void {
    this.#isOffered = true
    this.#want(index)
  }

  /** The entry `index` cannot be applied without a snapshot. Ends with `onInstalled`. */
  needed(index: number): void {
    this.#isNeeded = true
    this.#want(index)
  }

  stop(): void {
    this.#abort.abort()
  }

  #want(index: number): void {
    this.#wanted = Math.max(this.#wanted, index)
    this.#begin()
  }

  #begin(): void {
    if (this.#running) return
    this.#running = true
    this.#run().catch((error: unknown) => {
      if (!this.#stopped) this.#options.onFailed(error instanceof Error ? error : new Error(String(error)))
    })
  }

  get #stopped(): boolean {
    return this.#abort.signal.aborted
  }

  async #run(): Promise<void> {
    if (this.#wanted === 0) await this.#options.peers.discard()
    while (!this.#stopped && this.#wanted > 0) {
      const fetched = await this.#fetchFromAny()
      if (this.#stopped) return
      if (fetched !== undefined) {
        await this.#install(fetched.snapshot, fetched.folder)
        continue
      }
      await sleepUnless(this.#options.clock, this.#retryMs, this.#abort.signal)
      this.#retryMs = Math.min(2 * this.#retryMs, retryMsMax)
      if (!this.#isNeeded && !this.#stopped) this.#decline()
    }
    // In the turn of the look at what is wanted: what comes later begins anew.
    this.#running = false
  }

  async #fetchFromAny(): Promise<{ snapshot: ExportedSnapshot; folder: string } | undefined> {
    const { logger, peers } = this.#options
    for (const peer of this.#options.candidates()) {
      const index = this.#wanted
      try {
        const set = await peers.fetch(peer, index, this.#abort.signal)
        const snapshot = decodeSnapshot(set)
        if (snapshot.meta.index >= index) return { snapshot, folder: set.folder }
      } catch (error) {
        const isOurs = error instanceof DiskError || (!(error instanceof OstrakaError) && systemErrorCode(error) === undefined)
        if (isOurs || this.#stopped) throw error
        logger.warn({ peer, index, error: error instanceof Error ? error.message : String(error) }, 'a snapshot could not be fetched')
      }
    }
    return undefined
  }

  async #install(snapshot: ExportedSnapshot, folder: string): Promise<void> {
    const { pump, stateMachine, logger, peers } = this.#options
    const { meta } = snapshot
    await pump.pause()
    if (this.#stopped) return
    if (meta.index < this.#wanted) {
      // An entry that could not be applied came to light meanwhile.
      if (!this.#isNeeded) pump.resume()
      return
    }
    if (meta.index <= pump.applied) this.#decline()
    else {
      await stateMachine.installSnapshot(snapshot, folder)
      if (this.#stopped) return
      logger.info({ index: meta.index, files: snapshot.files.length }, 'installed a snapshot')
      this.#retryMs = retryMsMin
      this.#done()
      this.#options.onInstalled(meta)
    }
    pump.resume()
    await peers.discard()
  }

  #decline(): void {
    const wasOffered = this.#isOffered
    this.#done()
    if (wasOffered) this.#options.onDeclined()
  }

  #done(): void {
    this.#wanted = 0
    this.#isNeeded = false
    this.#isOffered = false
  }
}
