/** Which process holds a socket: Linux says it under /proc. So a proxy knows who dialled it, and nobody has to say so. */
import { readdir, readFile, readlink } from 'node:fs/promises'

/** Whoever is none of the processes named. */
export const clients = 'clients'

/** Why it cannot be told here; undefined: it can. */
export async function noOwnersReason(): Promise<string | undefined> {
  try {
    await readFile('/proc/net/tcp')
    return undefined
  } catch {
    return 'links are told apart by /proc/net/tcp, which is not there'
  }
}

/** The name of the process whose socket is bound to `port` and connected to `peerPort`, both of the loopback interface. */
export async function ownerOfSocket(port: number, peerPort: number, names: ReadonlyMap<number, string>): Promise<string> {
  const inode = inodeOf(await readFile('/proc/net/tcp', 'utf8'), port, peerPort)
  if (inode === undefined) return clients
  const holders = await Promise.all([...names].map(async ([pid, name]) => ((await holds(pid, `socket:[${inode}]`)) ? name : undefined)))
  return holders.find((name) => name !== undefined) ?? clients
}

/** Columns: number, local address, remote address, state, …, inode; an address is HEX:PORT in hexadecimal. */
export function inodeOf(table: string, port: number, peerPort: number): string | undefined {
  for (const line of table.split('\n')) {
    const columns = line.trim().split(/\s+/)
    if (portOf(columns[1]) === port && portOf(columns[2]) === peerPort) return columns[9]
  }
  return undefined
}

function portOf(address = ''): number {
  return Number.parseInt(address.slice(address.indexOf(':') + 1), 16)
}

async function holds(pid: number, link: string): Promise<boolean> {
  try {
    const folder = `/proc/${pid}/fd`
    const links = await Promise.all((await readdir(folder)).map((file) => readlink(`${folder}/${file}`).catch(() => '')))
    return links.includes(link)
  } catch {
    // It has ended.
    return false
  }
}
