/** What happens to the bytes that one process sends to another. Absent: they go through. */
export interface LinkRule {
  /** They are held back, with every sign of life or death of the sender, until the rule changes: a half-open connection. */
  readonly isHeld?: boolean
  /** Connections that the one dials to the other are reset, open ones and new ones. */
  readonly isRefused?: boolean
  readonly delayMs?: number
  /** Of all chunks this fraction comes so much later, and what is behind it with it: what a lost packet does to a connection. */
  readonly spike?: { readonly probability: number; readonly ms: number }
  readonly bytesPerSecond?: number
}

/** Rules by sender and receiver. */
export class LinkRules {
  #rules = new Map<string, LinkRule>()

  of(from: string, to: string): LinkRule {
    return this.#rules.get(`${from}>${to}`) ?? open
  }

  replace(rules: readonly (readonly [from: string, to: string, rule: LinkRule])[]): void {
    this.#rules = new Map(rules.map(([from, to, rule]) => [`${from}>${to}`, rule]))
  }
}

const open: LinkRule = {}
