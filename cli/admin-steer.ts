import type { Command } from 'commander'
import { pb } from '../proto/messages.ts'
import { parseShard } from './admin-move.ts'
import { examples, type Registry } from './invocation.ts'
import { runChange } from './run-change.ts'

const ways = [
  { name: 'pause', steering: pb.v1.Steering.PAUSE, description: 'let the migration of a shard make no progress until it is resumed' },
  { name: 'resume', steering: pb.v1.Steering.RESUME, description: 'let a paused migration go on' },
  { name: 'cancel', steering: pb.v1.Steering.CANCEL, description: 'end the migration of a shard; it stays where it is' },
] as const

/** pause, resume, cancel: of the migration that a shard is part of, so of all the shards that move with it. */
export function addAdminSteer(admin: Command, registry: Registry): void {
  for (const { name, steering, description } of ways) {
    const command = admin
      .command(name)
      .description(description)
      .argument('<shard>', 'its number, from 0')
      .addHelpText('after', examples(`admin ${name} 12`))
    registry.add(command, (invocation) => {
      const request = { shard: parseShard(command.processedArgs[0] as string), steering, author: invocation.world.author }
      return runChange(invocation, { make: (controllers, _, options) => controllers.steer(request, options) }, false)
    })
  }
}
