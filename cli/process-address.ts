import { parseAddress } from './address.ts'
import { CommandError, exitCode } from './exit-code.ts'
import type { Invocation } from './invocation.ts'

/** Where the process that somebody names is asked: HOST:PORT as it is, an id through the directory of the controllers. */
export async function processAddress(
  invocation: Invocation,
  named: string,
  kind: 'node' | 'node or controller',
  timeoutMs: number,
): Promise<string> {
  if (named.includes(':')) return parseAddress(named)
  const status = await invocation.withControllers((controllers) => controllers.status({ timeoutMs }))
  const entries = kind === 'node' ? status.nodes : [...status.nodes, ...status.controllers]
  const address = entries.find(({ id }) => id === named)?.address
  if (address) return address
  const known = entries.map(({ id }) => id).join(', ')
  throw new CommandError(exitCode.failed, 'NOT_FOUND', `no ${kind} is called '${named}'; known are ${known || 'none'}`)
}
