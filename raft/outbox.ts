import type { Stream } from '../base/transport.ts'
import { pb } from '../proto/messages.ts'
import type { Message } from './core/types.ts'
import { HeartbeatColumns, heartbeatBytes } from './heartbeat-columns.ts'
import type { Envelope } from './message-codec.ts'
import type { Turn } from './turn.ts'

/** A frame ends once it holds this many bytes. */
const frameBytesMax = 1024 * 1024
/** Past this many waiting bytes messages are refused: the peer is too slow, and Raft will repeat them. */
const queueBytesMax = 64 * 1024 * 1024

/** What waits for one peer on one lane: the messages of a turn leave as one frame, and what comes while the stream is full waits for it. */
export class Outbox {
  readonly #stream: Stream<pb.v1.RaftFrame>
  readonly #turn: Pick<Turn, 'leave'>
  readonly #clusterId: () => Uint8Array
  #messages: pb.v1.RaftMessage[] = []
  #sizes: number[] = []
  readonly #heartbeats = new HeartbeatColumns()
  #beat: pb.v1.NodeBeat | undefined
  #bytes = 0
  #scheduled = false
  #full = false
  readonly #leave = () => {
    this.#scheduled = false
    this.#flush()
  }

  constructor(stream: Stream<pb.v1.RaftFrame>, turn: Pick<Turn, 'leave'>, clusterId: () => Uint8Array) {
    this.#stream = stream
    this.#turn = turn
    this.#clusterId = clusterId
  }

  /** Returns false when the message was not taken. */
  push(message: pb.v1.RaftMessage, bytes: number): boolean {
    if (this.#stream.closed || (this.#bytes > 0 && this.#bytes + bytes > queueBytesMax)) return false
    this.#messages.push(message)
    this.#sizes.push(bytes)
    this.#bytes += bytes
    this.#schedule()
    return true
  }

  pushHeartbeat(message: Message, envelope: Envelope): boolean {
    if (this.#stream.closed || this.#heartbeats.count * heartbeatBytes > queueBytesMax) return false
    this.#heartbeats.add(message, envelope)
    this.#schedule()
    return true
  }

  /** Leaves with what this turn sends; one that has not left yet is out of date. */
  setBeat(beat: pb.v1.NodeBeat): void {
    this.#beat = beat
    this.#schedule()
  }

  drained(): void {
    this.#full = false
    this.#flush()
  }

  end(): void {
    this.#messages = []
    this.#sizes = []
    this.#bytes = 0
    this.#stream.end()
  }

  #schedule(): void {
    if (this.#scheduled || this.#full) return
    this.#scheduled = true
    this.#turn.leave(this.#leave)
  }

  #flush(): void {
    let from = 0
    while (from < this.#messages.length && !this.#full && !this.#stream.closed) {
      let to = from
      let bytes = 0
      while (to < this.#messages.length && (to === from || bytes + (this.#sizes[to] ?? 0) <= frameBytesMax)) bytes += this.#sizes[to++] ?? 0
      const frame = new pb.v1.RaftFrame({ messages: this.#messages.slice(from, to), clusterId: this.#clusterId() })
      this.#bytes -= bytes
      from = to
      if (from === this.#messages.length) this.#addHeartbeats(frame)
      if (!this.#stream.write(frame)) this.#full = true
    }
    if (!this.#full && !this.#stream.closed && (this.#heartbeats.count > 0 || this.#beat !== undefined)) {
      const frame = new pb.v1.RaftFrame({ clusterId: this.#clusterId() })
      this.#addHeartbeats(frame)
      if (!this.#stream.write(frame)) this.#full = true
    }
    this.#messages = this.#messages.slice(from)
    this.#sizes = this.#sizes.slice(from)
  }

  #addHeartbeats(frame: pb.v1.RaftFrame): void {
    if (this.#heartbeats.count > 0) frame.heartbeats = this.#heartbeats.take()
    if (this.#beat !== undefined) frame.beat = this.#beat
    this.#beat = undefined
  }
}
