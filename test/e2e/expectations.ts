/** What the end-to-end tests expect of every command alike. */
import { expect } from 'vitest'
import type { CommandResult } from './up.ts'

/**
 * From an answer to the next call of a client that is there all the time. Without a pause a few such clients take all of the processors, and what is
 * looked at (starts, elections, moves), and the file beside this one, wait for them. Under full load the same is done by npm run chaos.
 */
export const thinkMs = 10

type Run = (words: readonly string[]) => Promise<CommandResult>

export interface ErrorJson {
  readonly error: { readonly code: string; readonly message: string; readonly definite: boolean }
}

/** The JSON of a command that succeeded. */
export async function jsonOf(run: Run, words: readonly string[]): Promise<unknown> {
  const result = await run([...words, '--json'])
  expect(result, words.join(' ').slice(0, 200)).toMatchObject({ code: 0, stderr: '' })
  return JSON.parse(result.stdout)
}

/**
 * A failure as CONTRACT has it, plainly and with --json: the exit code, nothing on stdout but the error in JSON, one line on stderr without
 * a stack. Returns the JSON.
 */
export async function refusal(run: Run, words: readonly string[], code: number, message: RegExp): Promise<ErrorJson> {
  const [plain, asJson] = await Promise.all([run(words), run([words[0] ?? '', '--json', ...words.slice(1)])])
  const name = words.join(' ').slice(0, 200)
  expect(plain, name).toMatchObject({ code, stdout: '' })
  expectOneLine(plain.stderr, message)
  expect(asJson, name).toMatchObject({ code })
  expectOneLine(asJson.stderr, message)
  const told = JSON.parse(asJson.stdout) as ErrorJson
  expect(told).toEqual({ error: { code: expect.stringMatching(/^[A-Z_]+$/), message: expect.any(String), definite: expect.any(Boolean) } })
  expect(`ostraka: ${told.error.message}\n`).toBe(asJson.stderr)
  return told
}

export function expectOneLine(stderr: string, message: RegExp): void {
  expect(stderr).toMatch(/^ostraka: [^\n]+\n$/)
  expect(stderr).toMatch(message)
  expectNoStack(stderr)
}

export function expectNoStack(text: string): void {
  expect(text).not.toMatch(/^\s+at .*:\d+:\d+\)?$/m)
}

/** The lines of an ndjson text. */
export function ndjson(text: string): unknown[] {
  return text
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as unknown)
}
