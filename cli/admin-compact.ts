import type { Command } from 'commander'
import { parseName } from './address.ts'
import { waitSeconds } from './change.ts'
import { examples, type Registry } from './invocation.ts'
import { processAddress } from './process-address.ts'
import { byteText } from './units.ts'

export function addAdminCompact(admin: Command, registry: Registry): void {
  const command = admin
    .command('compact')
    .description(
      "write a node's tables anew, so that what was deleted or overwritten takes no room; ends when that is done (--timeout: 600)",
    )
    .argument('<node>', 'an id or HOST:PORT')
    .option('--group <name>', 'only this group of the node')
    .addHelpText('after', examples('admin compact n1', 'admin compact n1 --group g1 --timeout 3600 --json'))
  registry.add(command, async (invocation) => {
    const node = command.processedArgs[0] as string
    const { group } = command.opts<{ group?: string }>()
    const name = group === undefined ? '' : parseName(group, 'group')
    const startMs = performance.now()
    const timeoutMs = invocation.timeoutMs(waitSeconds)
    const address = await processAddress(invocation, node, 'node', timeoutMs)
    const leftMs = Math.max(1, timeoutMs - (performance.now() - startMs))
    const { id, replicas } = await invocation.world.compact(address, { group: name }, leftMs)
    const done = replicas.map(
      ({ group, bytesBefore, bytesAfter }) => [group ?? '', { bytesBefore: bytesBefore ?? 0, bytesAfter: bytesAfter ?? 0 }] as const,
    )
    const lines = done.map(
      ([group, { bytesBefore, bytesAfter }]) => `${group}: ${byteText(bytesBefore)} before, ${byteText(bytesAfter)} now`,
    )
    invocation.print({ id, groups: Object.fromEntries(done) }, lines.length === 0 ? `${id} holds no replica` : lines.join('\n'))
    return undefined
  })
}
