/** All proxies of a cluster, in a thread of their own: what they carry must not wait for the clients' turns. */
import { parentPort } from 'node:worker_threads'
import { type LinkRule, LinkRules } from './link-rule.ts'
import { ownerOfSocket } from './socket-owner.ts'
import { TcpProxy } from './tcp-proxy.ts'

export type ToProxies =
  | { readonly kind: 'open'; readonly name: string; readonly targetPort: number }
  | { readonly kind: 'owner'; readonly name: string; readonly pid: number }
  | { readonly kind: 'rules'; readonly rules: readonly (readonly [from: string, to: string, rule: LinkRule])[] }

/** Each message is answered, in order; `port` where a proxy was opened. */
export interface FromProxies {
  readonly port: number
}

const rules = new LinkRules()
const proxies: TcpProxy[] = []
const pids = new Map<string, number>()

async function handle(message: ToProxies): Promise<number> {
  switch (message.kind) {
    case 'open': {
      const ownerOf = (port: number, proxyPort: number) =>
        ownerOfSocket(port, proxyPort, new Map([...pids].map(([name, pid]) => [pid, name])))
      const proxy = new TcpProxy({ name: message.name, targetPort: message.targetPort, rules, ownerOf })
      proxies.push(proxy)
      return await proxy.listen()
    }
    case 'owner':
      pids.set(message.name, message.pid)
      return 0
    case 'rules':
      rules.replace(message.rules)
      for (const proxy of proxies) proxy.rulesChanged()
      return 0
  }
}

let last: Promise<unknown> = Promise.resolve()
parentPort?.on('message', (message: ToProxies) => {
  last = last.then(async () => {
    const answer: FromProxies = { port: await handle(message) }
    parentPort?.postMessage(answer)
  })
})
