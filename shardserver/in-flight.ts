/**
 * Bounds what is under way, by count and by bytes: a connection's share within the node's. One request is always admitted on an idle
 * connection, however large (its size has a bound of its own).
 */
export interface InFlightLimits {
  readonly requests: number
  readonly bytes: number
}

export class InFlight {
  readonly #limits: InFlightLimits
  readonly #parent: InFlight | undefined
  #requests = 0
  #bytes = 0

  constructor(limits: InFlightLimits, parent?: InFlight) {
    this.#limits = limits
    this.#parent = parent
  }

  get requests(): number {
    return this.#requests
  }

  get bytes(): number {
    return this.#bytes
  }

  /** False: too much is under way, here or above. True: `leave` must follow with the same bytes, once. */
  maybeEnter(bytes: number): boolean {
    if (this.#requests > 0 && (this.#requests >= this.#limits.requests || this.#bytes + bytes > this.#limits.bytes)) return false
    if (this.#parent !== undefined && !this.#parent.maybeEnter(bytes)) return false
    this.#requests++
    this.#bytes += bytes
    return true
  }

  /** A request under way grows by `bytes`, which `leave` gives back. False: too much is under way, here or above. The only one always may. */
  maybeGrow(bytes: number): boolean {
    if (this.#requests > 1 && this.#bytes + bytes > this.#limits.bytes) return false
    if (this.#parent !== undefined && !this.#parent.maybeGrow(bytes)) return false
    this.#bytes += bytes
    return true
  }

  /** `bytes`: what the request entered with and grew by. */
  leave(bytes: number): void {
    this.#requests--
    this.#bytes -= bytes
    this.#parent?.leave(bytes)
  }
}
