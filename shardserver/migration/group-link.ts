import type { Method } from '../../base/transport.ts'
import { OstrakaError } from '../../proto/errors.ts'
import type { pb } from '../../proto/messages.ts'
import type { MigrationNode } from './node.ts'

/** Calls some replica of another group, its leader first: follows hints, goes round where nobody answers. */
export class GroupLink {
  readonly #node: MigrationNode
  /** Uid. */
  readonly #group: string
  #preferred = ''
  #isAway = false

  constructor(node: MigrationNode, group: string) {
    this.#node = node
    this.#group = group
  }

  /** Nobody answered the last call, unless to say that it does not lead or runs no replica: the group has no leader that can be reached. */
  get isAway(): boolean {
    return this.#isAway
  }

  /**
   * Rejects with the last refusal. `isFinal`: a refusal for which no other replica is asked; NOT_LEADER never is one. `timeoutMs`: for each
   * replica.
   */
  async call<Request, Response extends { error?: pb.v1.Error.$Properties | null }>(
    method: Method<Request, Response>,
    request: NoInfer<Request>,
    timeoutMs: number,
    isFinal: (error: OstrakaError) => boolean,
  ): Promise<Response> {
    const queue = this.#order()
    let last = new OstrakaError('UNAVAILABLE', `no replica of ${this.#group} is known`, true)
    let hints = queue.length
    this.#isAway = false
    let isAway = true
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      try {
        const reply = await this.#node.peers.call(next, method, request, timeoutMs)
        this.#preferred = next
        return reply
      } catch (error) {
        if (!(error instanceof OstrakaError)) throw error
        last = error
        isAway &&= isAbsence(error)
        const hint = error.code === 'NOT_LEADER' ? error.details.leaderHint : undefined
        if (hint && hint !== next && hints-- > 0) queue.unshift(hint)
        else if (error.code !== 'NOT_LEADER' && isFinal(error)) throw error
      }
    }
    this.#isAway = isAway
    throw last
  }

  #order(): string[] {
    const nodes =
      this.#node
        .config()
        ?.groupByUid(this.#group)
        ?.members.map(({ node }) => node) ?? []
    return nodes.includes(this.#preferred) ? [this.#preferred, ...nodes.filter((node) => node !== this.#preferred)] : [...nodes]
  }
}

/** The node is not there, or not as the group's leader. */
function isAbsence({ code }: OstrakaError): boolean {
  return code === 'UNAVAILABLE' || code === 'NOT_LEADER' || code === 'NOT_FOUND'
}

/** The group's log or the whole node refused: the others would too, or must not be asked. */
export function isRefusal(error: OstrakaError): boolean {
  return (
    error.code === 'FAILED_PRECONDITION' || error.code === 'OVERLOADED' || error.code === 'INVALID_ARGUMENT' || error.code === 'CANCELLED'
  )
}
