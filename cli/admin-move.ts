import type { Command } from 'commander'
import { parseGroupName } from './admin-join.ts'
import { addChangeFlags, type Change, type ChangeFlags, type PlannableChange, waitHelp } from './change.ts'
import { usageError } from './exit-code.ts'
import { examples, type Registry } from './invocation.ts'
import { runChange } from './run-change.ts'

/** move, unpin. */
export function addAdminMove(admin: Command, registry: Registry): void {
  const move = addChangeFlags(admin.command('move'), waitHelp)
    .description('move a shard to a group and hold it there')
    .argument('<shard>', 'its number, from 0')
    .argument('<group>', 'name of the group')
    .addHelpText('after', examples('admin move 12 g2', 'admin move 12 g2 --wait --timeout 60'))
  registry.add(move, (invocation) => {
    const [shard, group] = move.processedArgs as [string, string]
    return runChange(invocation, moveChange(shard, group, invocation.world.author), move.opts<ChangeFlags>())
  })
  const unpin = addChangeFlags(admin.command('unpin'))
    .description('hold a shard no more; the next rebalance, join or leave may move it')
    .argument('<shard>', 'its number, from 0')
    .addHelpText('after', examples('admin unpin 12'))
  registry.add(unpin, (invocation) => {
    return runChange(invocation, unpinChange(unpin.processedArgs[0] as string, invocation.world.author), unpin.opts<ChangeFlags>())
  })
}

export function moveChange(shard: string, group: string, author: string): PlannableChange {
  const move = { shard: parseShard(shard), group: parseGroupName(group), author }
  return { plan: { move }, make: (controllers, base, options) => controllers.move({ ...move, ...base }, options) }
}

function unpinChange(shard: string, author: string): Change {
  const unpin = { shard: parseShard(shard), author }
  return { make: (controllers, _, options) => controllers.unpin(unpin, options) }
}

export function parseShard(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw usageError(`'${text}' is no shard: give a whole number from 0`)
  return Number(text)
}
