import { equalBytes } from '../base/bytes.ts'
import type { Config } from '../proto/config.ts'
import { OstrakaError } from '../proto/errors.ts'
import type { ConfigState } from './config-state.ts'
import { claimController, controllerGroup } from './controller-members.ts'
import { mustBeDone, type Proposals } from './proposals.ts'
import type { CheckedClaim } from './request-checks.ts'

export interface ClaimsParts {
  readonly proposals: Pick<Proposals, 'propose'>
  readonly state: () => ConfigState
  /** The newest config, linearizably. */
  readonly read: (hint: (replica: number) => string) => Promise<Config>
}

/** Data directories claim replica numbers, each once and for all: the answer is LOST where another one has it. Rejects with OstrakaErrors. */
export class Claims {
  readonly #parts: ClaimsParts

  constructor(parts: ClaimsParts) {
    this.#parts = parts
  }

  async claim(claim: CheckedClaim, hint: (replica: number) => string): Promise<void> {
    if (claim.group === controllerGroup) return await this.#claimController(claim, hint)
    const config = await this.#parts.read(hint)
    const member = config.groupByUid(claim.group)?.members.find(({ replica }) => replica === claim.replica)
    // Also of a number that this directory had: once it was removed it must never begin anew.
    if (member === undefined || member.node !== claim.node) {
      throw new OstrakaError('NOT_FOUND', `replica ${claim.replica} of group ${claim.group} is not given to ${claim.node}`, true)
    }
    const first = this.#parts.state().claims.get(claim.replica)
    if (first === undefined) {
      const result = await this.#parts.proposals.propose({ kind: 'claim', claim }, hint)
      if (result.outcome !== 'lost') return mustBeDone(result)
    } else if (equalBytes(first.nonce, claim.nonce) && first.node === claim.node && first.group === claim.group) {
      return
    }
    const text = `replica ${claim.replica} of group ${claim.group} was claimed by another data directory: this one lost it`
    throw new OstrakaError('LOST', text, true)
  }

  async #claimController(claim: CheckedClaim, hint: (replica: number) => string): Promise<void> {
    for (;;) {
      await this.#parts.read(hint)
      const change = claimController(this.#parts.state().controllerMembers, claim)
      if (change === 'claimed') return
      if (change === 'lost')
        throw new OstrakaError('LOST', `number ${claim.replica} of controller ${claim.node} was claimed by another data directory`, true)
      if (change === undefined)
        throw new OstrakaError('NOT_FOUND', `controller ${claim.node} is not to join under number ${claim.replica}`, true)
      const result = await this.#parts.proposals.propose({ kind: 'controllers', controllers: change }, hint)
      if (result.outcome !== 'stale') mustBeDone(result)
    }
  }
}
