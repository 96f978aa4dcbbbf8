/** A copy of the project in a temporary folder, in which the code is broken and the checks are run. */
import { type ChildProcess, spawn } from 'node:child_process'
import { cp, mkdtemp, readFile, realpath, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, relative, sep } from 'node:path'
import type { Check } from './mutant.ts'

/** Not copied: what is big, and what is no part of the code. */
const left = new Set(['node_modules', '.git', '.ostraka', 'docs'])
/** A check that has not ended by then catches nothing. */
const checkMsMax = 10 * 60_000

export interface Verdict {
  /** unclear: the check itself did not run to its end (it did not build, it hung). */
  readonly result: 'passed' | 'failed' | 'unclear'
  /** What failed first, one line, in Markdown. */
  readonly by: string
  /** Of the simulator: how many seeds it took, the failing one included; they begin at 1. */
  readonly seeds?: number
}

interface Ended {
  readonly code: number
  readonly output: string
}

export class Workshop {
  readonly #folder: string
  #child: ChildProcess | undefined

  private constructor(folder: string) {
    this.#folder = folder
  }

  static async open(root: string): Promise<Workshop> {
    // Its real path, as the test runner tells it.
    const folder = await realpath(await mkdtemp(join(tmpdir(), 'ostraka-mutants-')))
    const wanted = (path: string) => !left.has(relative(root, path).split(sep)[0] ?? '')
    await cp(root, folder, { recursive: true, filter: wanted })
    await symlink(join(root, 'node_modules'), join(folder, 'node_modules'))
    return new Workshop(folder)
  }

  /** Also while a check runs, which ends then. */
  close(): Promise<void> {
    this.#child?.kill()
    return rm(this.#folder, { recursive: true, force: true })
  }

  /** Throws Error where the patch does not fit the code. */
  async apply(patch: string): Promise<void> {
    await this.#patch(patch, [])
  }

  async revert(patch: string): Promise<void> {
    await this.#patch(patch, ['--reverse'])
  }

  async run(check: Check): Promise<Verdict> {
    return check.kind === 'test' ? this.#test(check.files) : this.#sim(check.options)
  }

  async #patch(patch: string, options: readonly string[]): Promise<void> {
    const file = join(this.#folder, '.mutant.patch')
    await writeFile(file, patch)
    // Outside of any repository: else paths would be those of the repository around it.
    const { code, output } = await this.#run('git', ['apply', ...options, file], {
      GIT_CEILING_DIRECTORIES: this.#folder,
      GIT_DIR: '/dev/null',
    })
    if (code !== 0) throw new Error(`the patch does not fit the code any more: ${output.trim().split('\n')[0]}`)
  }

  async #test(files: readonly string[]): Promise<Verdict> {
    const report = join(this.#folder, '.mutant.json')
    await rm(report, { force: true })
    const { code } = await this.#node([
      'node_modules/vitest/vitest.mjs',
      'run',
      ...files,
      '--bail=1',
      '--reporter=json',
      `--outputFile=${report}`,
    ])
    const results = await readResults(report)
    if (results === undefined) return { result: 'unclear', by: 'the test runner made no report' }
    const failed = results.find(({ status }) => status === 'failed')
    if (failed !== undefined) return { result: 'failed', by: `\`${relative(this.#folder, failed.file)}\`: ${failed.name}` }
    if (code !== 0) return { result: 'unclear', by: `the test runner ended with ${code}, and no test failed` }
    if (!results.some(({ status }) => status === 'passed')) return { result: 'unclear', by: 'no test was run' }
    return { result: 'passed', by: '' }
  }

  async #sim(options: readonly string[]): Promise<Verdict> {
    const built = await this.#node(['scripts/build.mjs'])
    if (built.code !== 0) return { result: 'unclear', by: `it does not build: ${built.output.trim().split('\n')[0]}` }
    const { code, output } = await this.#node(['dist/test/sim/main.js', '--once', '--fail-fast', ...options])
    if (code === 0) return { result: 'passed', by: '' }
    const lines = output.matchAll(/^seed (\d+) FAILED: (?:seed \d+[,:] )?(?:[\d.]+ ms, event \d+: )?([^;\n]*)/gm)
    const failures = [...lines].map(([, seed, by]) => ({ seed: Number(seed), by }))
    // Seeds run in more than one process, and the first that fails need not be the first to end.
    const [first] = failures.sort((a, b) => a.seed - b.seed)
    if (first === undefined) return { result: 'unclear', by: `the simulator ended with ${code}: ${output.trim().split('\n').at(-1)}` }
    return { result: 'failed', by: first.by ?? '', seeds: first.seed }
  }

  #node(parameters: readonly string[]): Promise<Ended> {
    return this.#run(process.execPath, parameters, {})
  }

  #run(command: string, parameters: readonly string[], environment: NodeJS.ProcessEnv): Promise<Ended> {
    return new Promise((resolve, reject) => {
      const child = spawn(command, parameters, {
        cwd: this.#folder,
        env: { ...process.env, ...environment },
        stdio: ['ignore', 'pipe', 'pipe'],
        timeout: checkMsMax,
      })
      this.#child = child
      let output = ''
      const take = (chunk: Buffer) => {
        output += chunk.toString('utf8')
      }
      child.stdout.on('data', take)
      child.stderr.on('data', take)
      child.on('error', reject)
      child.on('close', (code) => resolve({ code: code ?? -1, output }))
    })
  }
}

interface TestResult {
  readonly status: string
  /** Whole path. */
  readonly file: string
  readonly name: string
}

async function readResults(report: string): Promise<readonly TestResult[] | undefined> {
  let text: string
  try {
    text = await readFile(report, 'utf8')
  } catch {
    return undefined
  }
  const { testResults } = JSON.parse(text) as {
    testResults: readonly { name: string; assertionResults: readonly { status: string; fullName: string }[] }[]
  }
  return testResults.flatMap(({ name: file, assertionResults }) =>
    assertionResults.map(({ status, fullName }) => ({ status, file, name: fullName })),
  )
}
