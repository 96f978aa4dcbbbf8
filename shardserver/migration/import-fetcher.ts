import { AssertionError } from '../../base/assert.ts'
import { sleepUnless } from '../../base/clock.ts'
import { isOutOfSpace, type Space } from '../../base/disk-space.ts'
import { CorruptionError, DiskError } from '../../base/errors.ts'
import type { FileSystem } from '../../base/file-system.ts'
import type { Logger } from '../../base/logger.ts'
import type { Channel } from '../../base/transport.ts'
import { OstrakaError } from '../../proto/errors.ts'
import { pb } from '../../proto/messages.ts'
import { type FetchOptions, fetchFiles } from '../../raft/file-fetch.ts'
import { linkFiles } from '../../raft/file-link.ts'
import type { FileSet } from '../../raft/file-set.ts'
import type { Pace } from '../../raft/pace.ts'
import type { BroughtFiles, HeldImport } from '../shard-migrations.ts'
import type { MigrationNode, MovingReplica } from './node.ts'

const backoffMsMin = 50
const backoffMsMax = 2000
/** A source replica has its cut waited for less long than that before it answers: one that is silent for longer is asleep, and the next one is asked. */
const openTimeoutMs = 5000
/** A source replica that cannot be reached for so long counts as one without the cut, once another one has said that it lost it. */
const unreachableMs = 10_000
/** So long, from when another one is ready, the cut of a source replica on this very node is waited for while it is being made, rather than to pull more than this. */
const ownCutMs = 10_000
const pulledMeanwhileMax = 16 * 1024 * 1024
/** After which one's own cut is looked for again. */
const ownCutAgainMs = 50

export interface FetchWorld {
  readonly fileSystem: FileSystem
  readonly transport: FetchOptions['transport']
  /** Of all copies into this node. */
  readonly pace: Pace
  /** Undefined: nobody looks at the room that is left. */
  readonly space: Pick<Space, 'fits'> | undefined
  /** A sync failed: final for the process. */
  onFailure(error: Error): void
}

export interface FetchStatus {
  readonly bytesCopied: number
  readonly bytesTotal: number
  readonly lost: boolean
  /** Why the disk of this node cannot take the files; '': it can, or it is not known yet. */
  readonly noRoom: string
  /** So many of the source's replicas cannot be reached that it has no majority. */
  readonly sourceAway: boolean
}

/** The files of one attempt. */
export interface WantedImport {
  readonly id: number
  readonly attempt: number
  /** Uid of the source. */
  readonly from: string
}

/** What became of the last try at one source replica. */
interface SourceReplica {
  readonly node: string
  lost: boolean
  /** When it was first unreachable since it last answered; undefined: it answered. */
  unreachableMs: number | undefined
}

/**
 * Has this replica of the target hold the files of one attempt: links those of a source replica on this very node, or pulls them from another, the target's
 * replicas each from another one where they can, and has the state machine verify them. Goes on from what is there after a restart. Ends when they are held, or by `close`.
 */
export class ImportFetcher {
  readonly id: number
  readonly attempt: number
  readonly #node: MigrationNode
  readonly #hosted: MovingReplica
  readonly #world: FetchWorld
  /** Uid of the source. */
  readonly #from: string
  readonly #logger: Logger
  readonly #sources: SourceReplica[]
  readonly #ending = new AbortController()
  /** When files were first seen elsewhere that are rather waited for here; undefined: not yet. */
  #readyElsewhereMs: number | undefined
  #bytesCopied = 0
  #bytesTotal = 0
  #noRoom = ''

  constructor(node: MigrationNode, hosted: MovingReplica, world: FetchWorld, wanted: WantedImport, onEnd: () => void) {
    this.id = wanted.id
    this.attempt = wanted.attempt
    this.#node = node
    this.#hosted = hosted
    this.#world = world
    this.#from = wanted.from
    this.#logger = node.logger.child({ group: hosted.replica.group, migration: wanted.id, attempt: wanted.attempt })
    this.#sources = this.#order().map((name) => ({ node: name, lost: false, unreachableMs: undefined }))
    hosted.stateMachine
      .bringImport(wanted.id, wanted.attempt, (signal) => this.#runUntil(signal))
      .catch((error: unknown) => this.#logger.error({ error: text(error) }, 'fetching an import failed'))
      .finally(onEnd)
  }

  status(): FetchStatus {
    return {
      bytesCopied: this.#bytesCopied,
      bytesTotal: this.#bytesTotal,
      lost: this.#isLost(),
      noRoom: this.#noRoom,
      sourceAway: this.#isSourceAway(),
    }
  }

  close(): void {
    this.#ending.abort()
  }

  /** The source's replicas: one on this very node, then from the one that has this replica's place among its own group's. */
  #order(): string[] {
    const config = this.#node.config()
    const nodes = config?.groupByUid(this.#from)?.members.map(({ node }) => node) ?? []
    const { group, replica } = this.#hosted.replica
    const at = config?.groupByUid(group)?.members.findIndex((member) => member.replica === replica) ?? 0
    const turned = nodes.map((_, i) => nodes[(i + Math.max(0, at)) % nodes.length] ?? '')
    const { self } = this.#node
    return nodes.includes(self) ? [self, ...turned.filter((node) => node !== self)] : turned
  }

  #isLost(): boolean {
    if (this.#sources.length === 0 || !this.#sources.some(({ lost }) => lost)) return false
    const nowMs = this.#node.clock.monotonicMs()
    return this.#sources.every(({ lost, unreachableMs: since }) => lost || (since !== undefined && nowMs - since >= unreachableMs))
  }

  #isSourceAway(): boolean {
    const reached = this.#sources.filter(({ unreachableMs: since }) => since === undefined).length
    return this.#sources.length > 0 && reached * 2 <= this.#sources.length
  }

  async #runUntil(signal: AbortSignal): Promise<void> {
    const end = () => this.close()
    signal.addEventListener('abort', end)
    try {
      await this.#run()
    } finally {
      signal.removeEventListener('abort', end)
    }
  }

  async #run(): Promise<void> {
    for (let vain = 0; !this.#ending.signal.aborted; vain++) {
      for (const source of this.#sources) {
        const next = await this.#maybeTake(source)
        if (next === 'ended') return
        if (next.waitMs === 0) continue
        vain = -1
        await this.#sleep(next.waitMs)
      }
      if (vain >= 0) await this.#sleep(Math.min(backoffMsMax, backoffMsMin * 2 ** Math.min(vain, 10)) * (0.5 + this.#node.random.next()))
      if (this.#sources.length === 0) this.#sources.push(...this.#order().map((node) => ({ node, lost: false, unreachableMs: undefined })))
    }
  }

  #sleep(delayMs: number): Promise<void> {
    return sleepUnless(this.#node.clock, delayMs, this.#ending.signal)
  }

  async #maybeTake(source: SourceReplica): Promise<NextTry> {
    if (this.#ending.signal.aborted) return 'ended'
    const startedMs = this.#node.clock.monotonicMs()
    try {
      const brought = source.node === this.#node.self ? await this.#link() : await this.#pull(this.#node.peers.channelTo(source.node))
      source.unreachableMs = undefined
      this.#noRoom = ''
      const held = await this.#stage(brought)
      if (held === undefined) return 'ended'
      const ms = Math.round(this.#node.clock.monotonicMs() - startedMs)
      this.#logger.info({ from: source.node, bytes: held.bytes, ms }, 'the files of an import are here')
      return 'ended'
    } catch (error) {
      return this.#failed(source, error)
    }
  }

  /** undefined: the group does not want them any more. */
  async #stage(brought: BroughtFiles): Promise<HeldImport | undefined> {
    try {
      return await this.#hosted.stateMachine.stageImport(this.id, this.attempt, brought)
    } catch (error) {
      if (error instanceof OstrakaError && error.code === 'FAILED_PRECONDITION') return undefined
      throw error
    }
  }

  async #link(): Promise<BroughtFiles> {
    const { fileSystem, pace } = this.#world
    const source = this.#node.hosts.get(this.#from)?.stateMachine.exports
    if (source === undefined) throw new OstrakaError('UNAVAILABLE', `no replica of ${this.#from} runs here`, true)
    const request = new pb.v1.OpenFilesRequest({ group: this.#from, export: { migration: this.id, attempt: this.attempt } })
    const set = await source.open(request)
    try {
      const { signal } = this.#ending
      const links = await linkFiles({ fileSystem, set, folder: this.#folder, pace, signal, onProgress: this.#progressed })
      return { ...links, isVerified: set.readHere }
    } finally {
      source.release(set)
    }
  }

  #pull(calls: Channel): Promise<FileSet> {
    const { fileSystem, transport, pace, space } = this.#world
    return fetchFiles({
      transport,
      address: calls.address,
      calls,
      fileSystem,
      clock: this.#node.clock,
      clusterId: () => this.#node.clusterId(),
      request: { group: this.#from, export: { migration: this.id, attempt: this.attempt } },
      folder: this.#folder,
      signal: this.#ending.signal,
      openTimeoutMs,
      admit: (bytes, total) => {
        if (bytes > pulledMeanwhileMax && this.#isOwnBeingMade()) {
          throw new OstrakaError('UNAVAILABLE', `the cut of ${this.#node.self} is nearer`, true, { waitMs: ownCutAgainMs })
        }
        if (space === undefined || space.fits(bytes)) return
        throw this.#refusal(`${this.#node.self} has no room for the ${total} bytes of the copy`)
      },
      onProgress: this.#progressed,
      pace,
    })
  }

  /** It is asked first in each round, so it was not ready a moment ago. */
  #isOwnBeingMade(): boolean {
    const { self, clock } = this.#node
    const own = this.#sources.find(({ node }) => node === self)
    if (own === undefined || own.lost || own.unreachableMs !== undefined) return false
    this.#readyElsewhereMs ??= clock.monotonicMs()
    return clock.monotonicMs() - this.#readyElsewhereMs < ownCutMs
  }

  get #folder(): string {
    return this.#hosted.stateMachine.importFolder(this.id, this.attempt)
  }

  readonly #progressed = (copied: number, total: number): void => {
    this.#bytesCopied = copied
    this.#bytesTotal = total
  }

  /** Of this node's disk, whichever replica the files come from. It is tried again all the same, until the group has refused the import. */
  #refusal(noRoom: string): OstrakaError {
    this.#noRoom = noRoom
    return new OstrakaError('OVERLOADED', noRoom, true)
  }

  #failed(source: SourceReplica, error: unknown): NextTry {
    // Not tried again, also where nobody wants the files any more: nothing may be assumed of what the sync covered.
    if (error instanceof DiskError) {
      this.#world.onFailure(error)
      return 'ended'
    }
    if (this.#ending.signal.aborted) return 'ended'
    if (error instanceof AssertionError) throw error
    if (isOutOfSpace(error)) this.#refusal(`the disk of ${this.#node.self} is full`)
    if (error instanceof OstrakaError) {
      source.lost = error.code === 'NOT_FOUND'
      // Who says how long to wait is there: it is making the export, or has not come to it yet.
      const waitMs = Math.min(Math.max(error.details.waitMs ?? 0, 0), backoffMsMax)
      if (source.lost || waitMs > 0 || this.#noRoom !== '') source.unreachableMs = undefined
      else source.unreachableMs ??= this.#node.clock.monotonicMs()
      this.#logger.debug({ from: source.node, error: error.message }, 'an import could not be fetched')
      return { waitMs }
    }
    const what = error instanceof CorruptionError ? 'an import came damaged' : 'an import cannot be stored'
    this.#logger.warn({ from: source.node, error: text(error) }, what)
    return { waitMs: 0 }
  }
}

/** Nothing is left to do, or the next source replica is to be tried after so long; 0: at once, and a whole round of them is followed by a pause that grows. */
type NextTry = 'ended' | { readonly waitMs: number }

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
