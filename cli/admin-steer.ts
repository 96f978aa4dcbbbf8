import type { Command } from 'commander'
import { parseShard } from './admin-move.ts'
import { addChangeFlags, type ChangeFlags } from './change.ts'
import { examples, type Registry } from './invocation.ts'
import { runChange } from './run-change.ts'

const ways = [
  { name: 'pause', steering: 'PAUSE', description: 'let the migration of a shard make no progress until it is resumed' },
  { name: 'resume', steering: 'RESUME', description: 'let a paused migration go on' },
  { name: 'cancel', steering: 'CANCEL', description: 'end the migration of a shard; it stays where it is' },
] as const

/** pause, resume, cancel: of the migration that a shard is part of, so of all the shards that move with it. */
export function addAdminSteer(admin: Command, registry: Registry): void {
  for (const { name, steering, description } of ways) {
    const command = addChangeFlags(admin.command(name))
      .description(description)
      .argument('<shard>', 'its number, from 0')
      .addHelpText('after', examples(`admin ${name} 12`))
    registry.add(command, async (invocation) => {
      const { pb } = await import('../proto/messages.ts')
      const shard = parseShard(command.processedArgs[0] as string)
      const request = { shard, steering: pb.v1.Steering[steering], author: invocation.world.author }
      return await runChange(
        invocation,
        { make: (controllers, _, options) => controllers.steer(request, options) },
        command.opts<ChangeFlags>(),
      )
    })
  }
}
