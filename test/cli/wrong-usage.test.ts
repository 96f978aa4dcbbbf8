/** What users get wrong on the command line: each is told in a line, plainly and in JSON, before anything is dialled. */
import { afterEach, describe, expect, it } from 'vitest'
import { expectOneLine, refusal } from '../e2e/expectations.ts'
import type { CommandResult } from '../e2e/up.ts'
import { FakeWorld } from './fake-world.ts'

const worlds: FakeWorld[] = []

/** Each in a world of its own, as each process is. */
async function run(words: readonly string[]): Promise<CommandResult> {
  const world = new FakeWorld()
  worlds.push(world)
  const { code, stdout, stderr } = await world.run(...words)
  return { code, stdout: stdout.toString(), bytes: stdout, stderr }
}

afterEach(() => {
  for (const { connections, fakeControllers, asked } of worlds.splice(0)) {
    expect([connections, fakeControllers.calls, asked]).toEqual([[], [], []])
  }
})

describe('keys', () => {
  const long = 'k'.repeat(4097)

  it.each([['get'], ['put', 'v'], ['delete'], ['append', 'v'], ['increment'], ['cas', '--absent', '--value', 'v'], ['explain']])(
    'an empty or too long one is refused by %s, and told with the limit',
    async (command = '', ...rest) => {
      const [empty, tooLong] = await Promise.all([run([command, '', ...rest]), run([command, long, ...rest])])
      expect([empty.code, tooLong.code]).toEqual([2, 2])
      expectOneLine(empty.stderr, /the key is empty: a key is 1 to 4096 bytes/)
      expectOneLine(tooLong.stderr, /the key has 4097 bytes: a key is 1 to 4096 bytes/)
    },
  )
})

describe('commands, flags and addresses', () => {
  it.each([
    [['fetch', 'kept'], /unknown command 'fetch'/],
    [['admin', 'destroy'], /unknown command 'destroy'/],
    [['get', 'kept', '--colour', 'red'], /unknown option '--colour'/],
    [['get'], /missing required argument 'key'/],
    [['get', 'kept', 'more'], /too many arguments/],
    [['put', 'kept'], /the value is missing/],
    [['get', 'kept', '--timeout', 'soon'], /--timeout soon: give seconds/],
    [['get', 'kept', '--read', 'dirty'], /linearizable, lease, follower, stale/],
    [['put', 'kept', 'x', '--ttl', '-1'], /--ttl/],
    [['scan', '--limit', 'all'], /--limit all: give a whole number/],
    [['cas', 'kept', '--value', 'x'], /give exactly one of --expect, --expect-revision and --absent/],
    [['bench', 'everything'], /everything/],
    [['get', 'kept', '--controllers', '127.0.0.1'], /'127\.0\.0\.1' is no address: give HOST:PORT/],
    [['get', 'kept', '--controllers', '127.0.0.1:0'], /no usable port: give one from 1 to 65535/],
    [['get', 'kept', '--controllers', 'http://127.0.0.1:7400'], /is no address/],
    [['get', 'kept', '--controllers', ''], /is no address/],
  ])('%j is wrong usage: 2', async (words, message) => {
    const { error } = await refusal(run, words, 2, message)
    expect(error.definite).toBe(true)
  })
})
