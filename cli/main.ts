#!/usr/bin/env node
import { failureOf } from './exit-code.ts'
import { NodeWorld } from './node-world.ts'
import { runCommand } from './program.ts'

/** An error that nobody caught is a bug of ours or a disk that failed: no state of this process can be trusted any more. */
function crash(thrown: unknown): void {
  const failure = failureOf(thrown)
  process.stderr.write(`ostraka: ${failure.message}\n`)
  if (process.argv.includes('--debug') && thrown instanceof Error) process.stderr.write(`${thrown.stack}\n`)
  process.exit(failure.exitCode)
}

process.on('uncaughtException', crash)
process.on('unhandledRejection', crash)
// A reader that goes early (`ostraka scan | head`) is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))

const code = await runCommand(new NodeWorld(), process.argv.slice(2))
// What was printed into a pipe leaves asynchronously; and no connection or timer may keep a finished command alive.
process.stdout.write('', () => process.exit(code))
