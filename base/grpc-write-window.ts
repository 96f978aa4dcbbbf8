/**
 * Back-pressure of one stream in bytes. Node's object streams count messages: sixteen of 16 MiB would pass and sixteen of 20 bytes would
 * not. A window always admits one message.
 */
export class WriteWindow {
  readonly #limitBytes: number
  readonly #onDrain: () => void
  /** Lengths of the messages that wait, oldest first, from `#head` on. */
  #lengths: number[] = []
  #head = 0
  #pendingBytes = 0
  #full = false

  constructor(limitBytes: number, onDrain: () => void) {
    this.#limitBytes = limitBytes
    this.#onDrain = onDrain
  }

  /** Counts a message that is being written. False: write no more until drained. */
  admit(lengthBytes: number): boolean {
    this.#lengths.push(lengthBytes)
    this.#pendingBytes += lengthBytes
    if (this.#pendingBytes > this.#limitBytes) this.#full = true
    return !this.#full
  }

  /** The oldest message has left (or never will). One function for all messages of a stream: it is handed to each `write`. */
  readonly written = (): void => {
    this.#pendingBytes -= this.#lengths[this.#head++] ?? 0
    if (this.#head === this.#lengths.length) {
      this.#lengths = []
      this.#head = 0
    } else if (this.#head === 1024) {
      this.#lengths = this.#lengths.slice(this.#head)
      this.#head = 0
    }
    if (!this.#full || this.#pendingBytes * 2 > this.#limitBytes) return
    this.#full = false
    this.#onDrain()
  }
}
