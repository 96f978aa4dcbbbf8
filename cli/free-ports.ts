import net from 'node:net'
import { systemErrorCode } from '../base/errors.ts'
import { CommandError, exitCode } from './exit-code.ts'
import { pollUntil } from './poll.ts'

/** Whether `address` (an IPv4 HOST:PORT) could be listened on a moment ago. */
async function isFree(address: string): Promise<boolean> {
  const [host, port] = address.split(':')
  const server = net.createServer()
  try {
    return await new Promise<boolean>((resolve, reject) => {
      server.on('error', (error) => (systemErrorCode(error) === 'EADDRINUSE' ? resolve(false) : reject(error)))
      server.listen({ host, port: Number(port) }, () => resolve(true))
    })
  } finally {
    server.close()
  }
}

/** Rejects with the first address that is in use, and is so for `patienceMs`: one line before anything is started, not one from each child. */
export async function mustBeFree(addresses: readonly string[], patienceMs: number): Promise<void> {
  let taken = await firstTaken(addresses)
  if (taken === undefined) return
  const free = await pollUntil(patienceMs, async () => ((taken = await firstTaken(addresses)) === undefined ? true : undefined))
  if (free === undefined) {
    throw new CommandError(
      exitCode.failed,
      'ADDRESS_IN_USE',
      `address ${taken} is in use: stop what listens there, or choose another --base-port`,
    )
  }
}

/** A base port whose addresses are all free. */
export async function findFreeBase(addressesOf: (basePort: number) => readonly string[], span: number): Promise<number> {
  for (let attempt = 0; attempt < 100; attempt++) {
    // Below the ports that Linux hands out to outgoing connections.
    const basePort = 10_000 + Math.floor((Math.random() * 22_000) / span) * span
    if ((await firstTaken(addressesOf(basePort))) === undefined) return basePort
  }
  throw new CommandError(exitCode.failed, 'ADDRESS_IN_USE', 'no free ports were found: give a --base-port')
}

async function firstTaken(addresses: readonly string[]): Promise<string | undefined> {
  for (const address of addresses) if (!(await isFree(address))) return address
  return undefined
}
