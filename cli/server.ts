import { type Command, Option } from 'commander'
import { sleepUnless } from '../base/clock.ts'
import type { Seams } from '../base/seams.ts'
import { examples, type Registry } from './invocation.ts'
import type { ServerFlags } from './settings.ts'
import { addTuningOptions, typedFlags } from './tuning-options.ts'
import { untilStdinEndsFlag } from './until-stdin-ends.ts'

const collect = (value: string, previous: string[] | undefined) => [...(previous ?? []), value]

function addProcessOptions(command: Command): Command {
  return addTuningOptions(
    command
      .option('--id <id>', 'the id of this process in the cluster')
      .option('--listen <address>', '[NAME=]HOST:PORT to listen on; may be repeated', collect)
      .option('--advertise <address>', '[NAME=]HOST:PORT that others are told (default: as bound); may be repeated', collect)
      .option('--data <folder>', 'where everything is kept')
      .option('--http <address>', 'HOST:PORT for /livez, /readyz, /metrics and /status'),
  ).addOption(new Option(untilStdinEndsFlag).hideHelp())
}

export function addController(program: Command, registry: Registry): void {
  const command = addProcessOptions(program.command('controller'))
    .description('run one controller of a cluster, until a signal')
    .option('--peers <members>', 'ID=HOST:PORT,… of all controllers, this one included')
    .option('--shards <count>', 'shards of a new cluster, a power of two from 16 to 16384 (default: 256)')
    .addHelpText(
      'after',
      examples(
        'controller --id c1 --listen 10.0.0.1:7400 --peers c1=10.0.0.1:7400,c2=10.0.0.2:7400,c3=10.0.0.3:7400 --data /var/lib/ostraka',
      ),
    )
  registry.add(command, async (invocation) => {
    const { controllerSchema, resolveSettings } = await import('./settings.ts')
    const flags = resolveSettings(controllerSchema, givenTo(command, registry))
    const { runProcess } = await import('./process-shell.ts')
    const { startController } = await import('../controller/controller-process.ts')
    return runProcess(invocation.world, {
      flags,
      ...shellFlags(command),
      start: (settings, seams, onFatal) => {
        const { peers, shards, 'balance-leaders': balanceLeaders } = flags
        return startController({ ...settings, peers, shards, balanceLeaders }, seams, onFatal)
      },
    })
  })
}

export function addServer(program: Command, registry: Registry): void {
  const command = addProcessOptions(program.command('server'))
    .description('run one shardserver of a cluster, until a signal')
    .addHelpText(
      'after',
      examples('server --id n1 --listen 10.0.0.4:7410 --controllers 10.0.0.1:7400,10.0.0.2:7400 --data /var/lib/ostraka'),
    )
  registry.add(command, async (invocation) => {
    const { resolveSettings, serverSchema } = await import('./settings.ts')
    const flags = resolveSettings(serverSchema, givenTo(command, registry))
    const { runProcess } = await import('./process-shell.ts')
    const { startShardServer } = await import('../shardserver/shard-server.ts')
    return runProcess(invocation.world, {
      flags,
      ...shellFlags(command),
      start: (settings, seams, onFatal) => startShardServer({ ...settings, ...serverSettings(flags) }, seams, onFatal),
      aside: rehearseLeading,
    })
  })
}

/** A process that has just started has other things to do. */
const rehearseAfterMs = 2000

/** So that the first time that this node leads is not the first time that it runs what a leader runs. */
async function rehearseLeading({ clock, random, logger }: Seams, signal: AbortSignal): Promise<void> {
  await sleepUnless(clock, rehearseAfterMs, signal)
  if (signal.aborted) return
  const { rehearse } = await import('../shardserver/rehearsal.ts')
  const startMs = clock.monotonicMs()
  const { answered } = await rehearse(clock, random, signal)
  logger.debug({ answered, ms: Math.round(clock.monotonicMs() - startMs) }, 'rehearsed what a leader does')
}

function serverSettings(flags: ServerFlags) {
  const { controllers, 'max-migrations': maxMigrations, 'migration-bytes-per-second': migrationBytesPerSecond } = flags
  return { controllers, maxMigrations, ...(migrationBytesPerSecond === undefined ? {} : { migrationBytesPerSecond }) }
}

function givenTo(command: Command, registry: Registry) {
  const { config } = command.opts<{ config?: string }>()
  return { flags: typedFlags(command), environment: registry.world.environment, file: config }
}

function shellFlags(command: Command): { untilStdinEnds: boolean } {
  return { untilStdinEnds: command.opts<{ untilStdinEnds?: boolean }>().untilStdinEnds === true }
}
