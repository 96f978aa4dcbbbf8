import type { Clock } from '../../base/clock.ts'
import type { Method } from '../../base/transport.ts'
import { OstrakaError } from '../../proto/errors.ts'
import type { pb } from '../../proto/messages.ts'
import type { MigrationNode } from './node.ts'

/** So long without an answer, and another replica is asked, too: a leader that lives answers in less, one that lost its power never does. */
const hedgeMs = 200

interface Answer<Response> {
  readonly node: string
  /** Undefined: it failed with `error`. */
  readonly reply?: Response
  readonly error?: unknown
}

/**
 * Calls some replica of another group, its leader first: follows hints, goes round where nobody answers. Several may have the same call at a time, and one may get it
 * twice, so only calls for which that is the same as once are made by it: an export and a release are entries that are taken once, a delta is read.
 */
export class GroupLink {
  readonly #node: MigrationNode
  /** Uid. */
  readonly #group: string
  #preferred = ''
  /** Left unanswered what they were asked last, so they are asked last. */
  readonly #silent = new Set<string>()
  #isAway = false

  constructor(node: MigrationNode, group: string) {
    this.#node = node
    this.#group = group
  }

  /**
   * Nobody answered the last call, unless to say that it does not lead or runs no replica, or most cannot be reached for the one that is under way: the group has no
   * leader that can be reached.
   */
  get isAway(): boolean {
    return this.#isAway
  }

  /**
   * The first useful answer; those that come later are ignored. Rejects with the last refusal. `isFinal`: a refusal for which no other replica is asked; NOT_LEADER
   * never is one. `timeoutMs`: for each replica. While one of them lets it wait, the others are asked again and again: one may come to lead meanwhile.
   */
  async call<Request, Response extends { error?: pb.v1.Error.$Properties | null }>(
    method: Method<Request, Response>,
    request: NoInfer<Request>,
    timeoutMs: number,
    isFinal: (error: OstrakaError) => boolean,
  ): Promise<Response> {
    const { clock, peers } = this.#node
    const nodes = this.#order()
    const untilMs = clock.monotonicMs() + timeoutMs
    const open = new Map<string, Promise<Answer<Response>>>()
    const unreachable = new Set<string>()
    let queue = nodes
    let last = new OstrakaError('UNAVAILABLE', `no replica of ${this.#group} is known`, true)
    let hints = queue.length
    let isAway = true
    for (;;) {
      const next = queue.find((node) => !open.has(node))
      queue = next === undefined ? [] : queue.slice(queue.indexOf(next) + 1)
      if (next !== undefined) open.set(next, this.#answerOf(next, peers.call(next, method, request, timeoutMs)))
      if (open.size === 0) break
      const answer = await firstWithin(clock, hedgeMs, open.values())
      if (answer === undefined) {
        if (queue.length === 0 && clock.monotonicMs() < untilMs) queue = nodes
        continue
      }
      const { node, reply, error } = answer
      open.delete(node)
      if (reply !== undefined) {
        this.#preferred = node
        this.#isAway = false
        for (const slower of open.keys()) this.#silent.add(slower)
        return reply
      }
      if (!(error instanceof OstrakaError)) throw error
      last = error
      isAway &&= isAbsence(error)
      if (error.code === 'UNAVAILABLE') unreachable.add(node)
      // One of them may say nothing for as long as the call lasts: who waits for this group need not wait for that.
      if (unreachable.size * 2 > nodes.length) this.#isAway = true
      const hint = error.code === 'NOT_LEADER' ? error.details.leaderHint : undefined
      if (hint && hint !== node && !unreachable.has(hint) && hints-- > 0) queue = [hint, ...queue]
      else if (error.code !== 'NOT_LEADER' && isFinal(error)) {
        this.#isAway = false
        throw error
      }
    }
    this.#isAway = isAway
    throw last
  }

  /** Never rejects. */
  async #answerOf<Response>(node: string, reply: Promise<Response>): Promise<Answer<Response>> {
    const answer = await reply.then(
      (response): Answer<Response> => ({ node, reply: response }),
      (error: unknown): Answer<Response> => ({ node, error }),
    )
    if (answer.error instanceof OstrakaError && answer.error.code === 'UNAVAILABLE') {
      this.#silent.add(node)
      if (this.#preferred === node) this.#preferred = ''
    } else this.#silent.delete(node)
    return answer
  }

  /** Who answered last first, who did not answer last. */
  #order(): readonly string[] {
    const members = this.#node.config()?.groupByUid(this.#group)?.members ?? []
    const rank = (node: string) => (this.#silent.has(node) ? 2 : node === this.#preferred ? 0 : 1)
    return members.map(({ node }) => node).sort((a, b) => rank(a) - rank(b))
  }
}

/** undefined: none within `delayMs`. */
async function firstWithin<T>(clock: Clock, delayMs: number, promises: Iterable<Promise<T>>): Promise<T | undefined> {
  let stop = () => {}
  const late = new Promise<undefined>((resolve) => {
    const timer = clock.setTimer(delayMs, () => resolve(undefined))
    stop = () => timer.cancel()
  })
  return await Promise.race([...promises, late]).finally(stop)
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
