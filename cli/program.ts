import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { addAdmin } from './admin.ts'
import { addBench } from './bench.ts'
import { exitCode, oneLine, usageError } from './exit-code.ts'
import { addExplain } from './explain.ts'
import { addExport } from './export.ts'
import { addImport } from './import.ts'
import { addInspect } from './inspect.ts'
import { Registry, reportFailure } from './invocation.ts'
import { addReads } from './reads.ts'
import { addController, addServer } from './server.ts'
import { addUp } from './up.ts'
import { addVerify } from './verify.ts'
import type { World } from './world.ts'
import { addWrites } from './writes.ts'

/** Runs the command that `words` (the command line without node and script) say. Returns the exit code; prints what went wrong. */
export async function runCommand(world: World, words: readonly string[]): Promise<number> {
  const registry = new Registry(world, words)
  const program = makeProgram(world, registry)
  const flagWords = words.includes('--') ? words.slice(0, words.indexOf('--')) : words
  const told = { json: flagWords.includes('--json'), debug: flagWords.includes('--debug') }
  try {
    await program.parseAsync([...words], { from: 'user' })
    return registry.exitCode
  } catch (error) {
    if (!(error instanceof CommanderError)) return reportFailure(world, error, told)
    if (error.exitCode === 0) return exitCode.done
    if (error.code === 'commander.help') return exitCode.usage
    return reportFailure(world, usageError(oneLine(error.message.replace(/^error: /, ''))), told)
  }
}

/**
 * All commands are declared, whichever runs: for help, and for what is told of a wrong one. So a command's module imports at its top only
 * what its flags and their checks need; its handler imports what it does, and the packages for that, when it runs
 * (test/e2e/start-up.test.ts holds it).
 */
function makeProgram(world: World, registry: Registry): Command {
  const program = new Command('ostraka')
    .description('A linearizable, sharded, multi-Raft key-value cluster')
    .version(packageVersion(), '--version', 'print the version')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => world.stdout.write(text),
      writeErr: (text) => world.stderr.write(text),
      // The failure is told once, by `reportFailure`.
      outputError: () => {},
    })
    .configureHelp({ sortSubcommands: false, showGlobalOptions: false })
    .addHelpText(
      'after',
      '\nExit codes: 0 done, 1 failed or refused, 2 wrong usage, 3 key not found, 4 condition failed, 65 damaged files,\n69 unavailable, 74 disk error, 78 wrong data directory. `ostraka COMMAND --help` shows examples.',
    )
  addUp(program, registry)
  addController(program, registry)
  addServer(program, registry)
  addAdmin(program, registry)
  addWrites(program, registry)
  addReads(program, registry)
  addImport(program, registry)
  addExport(program, registry)
  addExplain(program, registry)
  addBench(program, registry)
  addInspect(program, registry)
  addVerify(program, registry)
  return program
}

function packageVersion(): string {
  // From cli/ in the sources, from dist/cli/ in the package.
  for (const path of ['../package.json', '../../package.json']) {
    try {
      const content = JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8')) as { name?: string; version?: string }
      if (content.name === 'ostraka' && content.version !== undefined) return content.version
    } catch {
      // Not there: the other one is.
    }
  }
  return 'unknown'
}
