import type { Socket } from 'node:net'
import type { LinkRule } from './link-rule.ts'

/** What one direction of a connection may hold back before its sender is no longer read: the kernel's buffers do the rest. */
const QUEUE_BYTES_MAX = 1024 * 1024

/** A chunk, or how the sender's end came. */
interface Piece {
  readonly what: Buffer | 'end' | 'reset'
  readonly dueMs: number
}

/** The bytes from one end of a connection to the other, in their order, held or delayed as the rule says. The end travels as the bytes do. */
export class ByteFlow {
  readonly #source: Socket
  readonly #sink: Socket
  readonly #rule: () => LinkRule
  #queue: Piece[] = []
  #queuedBytes = 0
  #lastDueMs = 0
  #timer: NodeJS.Timeout | undefined
  #isBlocked = false
  #hasEnded = false

  constructor(source: Socket, sink: Socket, rule: () => LinkRule) {
    this.#source = source
    this.#sink = sink
    this.#rule = rule
    source.on('data', (chunk) => this.#take(chunk))
    source.on('end', () => this.#ended('end'))
    // A reset, or the end of a process.
    source.on('close', (hadError) => {
      if (hadError || !this.#hasEnded) this.#ended('reset')
    })
    sink.on('drain', () => {
      this.#isBlocked = false
      this.pump()
    })
  }

  /** Sends on what is due. To be called when the rule has changed. */
  pump(): void {
    clearTimeout(this.#timer)
    while (!this.#isBlocked && !this.#rule().isHeld) {
      const [next] = this.#queue
      if (next === undefined) break
      const waitMs = next.dueMs - performance.now()
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.pump(), waitMs)
        break
      }
      this.#queue.shift()
      this.#send(next.what)
    }
    if (this.#queuedBytes < QUEUE_BYTES_MAX && !this.#source.destroyed) this.#source.resume()
  }

  /** Both ends are reset. */
  destroy(): void {
    clearTimeout(this.#timer)
    this.#queue = []
    this.#hasEnded = true
    this.#source.resetAndDestroy()
    this.#sink.resetAndDestroy()
  }

  #take(chunk: Buffer): void {
    const { delayMs = 0, spike, bytesPerSecond } = this.#rule()
    const nowMs = performance.now()
    let dueMs = Math.max(nowMs + delayMs, this.#lastDueMs)
    if (bytesPerSecond !== undefined) dueMs += (chunk.length * 1000) / bytesPerSecond
    if (spike !== undefined && Math.random() < spike.probability) dueMs += spike.ms
    this.#lastDueMs = dueMs
    this.#queue.push({ what: chunk, dueMs })
    this.#queuedBytes += chunk.length
    if (this.#queuedBytes >= QUEUE_BYTES_MAX) this.#source.pause()
    this.pump()
  }

  #ended(what: 'end' | 'reset'): void {
    this.#hasEnded = true
    this.#queue.push({ what, dueMs: this.#lastDueMs })
    this.pump()
  }

  #send(what: Piece['what']): void {
    if (what === 'end') this.#sink.end()
    else if (what === 'reset') this.#sink.resetAndDestroy()
    else {
      this.#queuedBytes -= what.length
      if (!this.#sink.destroyed && !this.#sink.write(what)) this.#isBlocked = true
    }
  }
}
