import type { Command } from 'commander'
import { examples, type Registry } from './invocation.ts'

export function addAdminMigrations(admin: Command, registry: Registry): void {
  const command = admin
    .command('migrations')
    .description('the shards that move, and the last 1,000 migrations that ended, oldest first')
    .option('--watch', 'go on until ^C, whether or not a controller answers: a live view on a terminal, else a line for each change')
    .addHelpText('after', examples('admin migrations', 'admin migrations --watch', 'admin migrations --watch --json'))
  registry.add(command, async (invocation) => {
    const { watch } = command.opts<{ watch?: boolean }>()
    const { showMigrations, watchMigrations } = await import('./migrations-view.ts')
    await invocation.withControllers((controllers) => (watch === true ? watchMigrations : showMigrations)(invocation, controllers))
    return undefined
  })
}
