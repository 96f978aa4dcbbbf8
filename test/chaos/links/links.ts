import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { must } from '../../../base/assert.ts'
import type { LinkRule } from './link-rule.ts'
import type { FromProxies, ToProxies } from './proxy-worker.ts'

export type DirectedRule = readonly [from: string, to: string, rule: LinkRule]

/** The network between the processes of a cluster and its clients: a proxy before each process, and rules per directed link. */
export class Links {
  /** Comes with the first proxy. */
  #worker: Worker | undefined
  #last: Promise<unknown> = Promise.resolve()

  /** Opens a proxy before the process `name`, which listens on `targetPort`. Resolves with its port. */
  async open(name: string, targetPort: number): Promise<number> {
    this.#worker ??= new Worker(new URL('./proxy-worker.js', import.meta.url))
    return await this.#ask({ kind: 'open', name, targetPort })
  }

  /** `name` runs as `pid` from now on. */
  async setOwner(name: string, pid: number): Promise<void> {
    if (this.#worker === undefined) return
    await this.#ask({ kind: 'owner', name, pid })
  }

  /** From when this resolves these rules hold, and no others. */
  async set(rules: readonly DirectedRule[]): Promise<void> {
    await this.#ask({ kind: 'rules', rules })
  }

  async heal(): Promise<void> {
    await this.set([])
  }

  async close(): Promise<void> {
    await this.#worker?.terminate()
  }

  #ask(message: ToProxies): Promise<number> {
    const worker = must(this.#worker, 'links that pass proxies')
    const asked = this.#last.then(async () => {
      const answer = once(worker, 'message')
      worker.postMessage(message)
      const [{ port }] = (await answer) as [FromProxies]
      return port
    })
    this.#last = asked.catch(() => {})
    return asked
  }
}

/** Rules that hold for what is sent in both directions between each of `left` and each of `right`. */
export function between(left: readonly string[], right: readonly string[], rule: LinkRule): DirectedRule[] {
  return [...oneWay(left, right, rule), ...oneWay(right, left, rule)]
}

/** Rules for what each of `from` sends to each of `to`. */
export function oneWay(from: readonly string[], to: readonly string[], rule: LinkRule): DirectedRule[] {
  return from.flatMap((sender) => to.filter((receiver) => receiver !== sender).map((receiver) => [sender, receiver, rule] as const))
}
