/**
 * What others may send to the ports of a cluster: missing and absurd fields, bytes that are no message, bytes that are no HTTP/2. Each is
 * answered with a typed error of one line, definite where it had no effect; no process dies, no record changes, and the cluster goes on serving.
 */
import { connect as dial } from 'node:net'
import { Client, credentials, type ServiceError, status } from '@grpc/grpc-js'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { SeededRandom } from '../../base/random.ts'
import { shardOf, slotOf } from '../../base/slot.ts'
import { NodeWorld } from '../../cli/node-world.ts'
import type { Database } from '../../cli/world.ts'
import { connect } from '../../client/connect.ts'
import type { Config } from '../../proto/config.ts'
import { pb } from '../../proto/messages.ts'
import { absurdMessage, publicMethods, randomBytes } from './absurd-messages.ts'
import { expectNoStack, jsonOf } from './expectations.ts'
import { Up } from './up.ts'

const shardCount = 16
const seed = Math.floor(Math.random() * 2 ** 31)
const random = new SeededRandom(seed)
const v1 = pb.v1

let up: Up
const clients = new Map<string, Client>()

beforeAll(async () => {
  up = await Up.start(['--shards', String(shardCount), '--election-timeout-ms', '300'])
  await up.run(['put', 'before', 'all of it'])
})
afterAll(async () => {
  for (const client of clients.values()) client.close()
  await up?.dispose()
})

function clientOf(address: string): Client {
  const client = clients.get(address) ?? new Client(address, credentials.createInsecure(), { 'grpc.max_send_message_length': -1 })
  clients.set(address, client)
  return client
}

const pass = (bytes: Uint8Array) => Buffer.from(bytes)

type Answer = { readonly bytes: Uint8Array } | { readonly refused: ServiceError }

function unary(address: string, path: string, bytes: Uint8Array): Promise<Answer> {
  return new Promise((resolve) => {
    const options = { deadline: Date.now() + 20_000 }
    clientOf(address).makeUnaryRequest(path, pass, pass, bytes, options, (error, reply) => {
      resolve(error === null ? { bytes: reply ?? new Uint8Array(0) } : { refused: error })
    })
  })
}

/** Sends on a new stream: the first answer, or undefined where the server waits for more. */
function streamed(address: string, path: string, bytes: Uint8Array): Promise<Answer | undefined> {
  return new Promise((resolve) => {
    const call = clientOf(address).makeBidiStreamRequest(path, pass, pass)
    call.on('data', (reply: Buffer) => {
      resolve({ bytes: reply })
      call.cancel()
    })
    call.on('error', (refused: ServiceError) => resolve({ refused }))
    call.on('end', () => resolve(undefined))
    call.end(bytes)
  })
}

/** Our own words, in one line; never the words for a bug of ours. */
function expectPlain(text: string, name: string): void {
  expect(text, name).toMatch(/^[^\n]{3,500}$/)
  expectNoStack(text)
}

function expectRefusal({ code, details }: ServiceError, name: string): void {
  const usual = [status.INVALID_ARGUMENT, status.FAILED_PRECONDITION, status.NOT_FOUND, status.RESOURCE_EXHAUSTED]
  expect(
    usual.map((each) => status[each]),
    `${name}: ${details}`,
  ).toContain(status[code])
  expectPlain(details, name)
}

const addresses = () => [up.ready.controllers[0] ?? '', up.ready.nodes[0]?.address ?? '']
const addressFor = (service: string) => addresses()[service === 'Controller' ? 0 : 1] ?? ''

/** A client that comes anew and goes. */
async function withDatabase<T>(use: (database: Database) => Promise<T>): Promise<T> {
  const database = await connect({ controllers: up.ready.controllers })
  try {
    return await use(database)
  } finally {
    await database.close()
  }
}

/** The same processes as at the start serve reads and writes, also of a client that comes anew. */
async function expectServing(): Promise<void> {
  await withDatabase(async (database) => {
    expect((await database.get('before'))?.value.toString()).toBe('all of it')
    await database.put('after', 'all of it')
  })
  expect(up.stderr).not.toContain('has ended')
  expect(up.stderr).not.toContain('a handler threw')
}

/** Names nothing that there must be: one of its messages may well be an order, which the config's number counts. */
const orderByItself = '/ostraka.v1.Controller/AutoRebalance'

describe(`messages to every method (seed ${seed})`, () => {
  it.each(publicMethods().map((method) => [method.path, method] as const))(
    '%s answers what is missing, absurd or no message',
    async (_path, method) => {
      const messages: Uint8Array[] = [new Uint8Array(0)]
      for (let i = 0; i < 40; i++) messages.push(absurdMessage(method.request, random))
      for (let i = 0; i < 40; i++) messages.push(randomBytes(random, 1 + random.below(64)))
      const before = await config()
      await Promise.all(
        messages.map(async (bytes) => {
          const name = `${method.path} ${Buffer.from(bytes.subarray(0, 300)).toString('hex')}`
          const send = method.streaming ? streamed : unary
          const answer = await send(addressFor(method.service), method.path, bytes)
          if (answer !== undefined && 'refused' in answer) expectRefusal(answer.refused, name)
        }),
      )
      const { number, assignment } = await config()
      if (method.path === orderByItself) await up.run(['admin', 'auto-rebalance', 'off'])
      else expect(number).toBe(before.number)
      expect(assignment).toEqual(before.assignment)
      await expectServing()
    },
  )

  it('a message above the limit is refused as such', async () => {
    const answer = await unary(addressFor('KV'), '/ostraka.v1.KV/Execute', new Uint8Array(17 * 1024 * 1024))
    expect('refused' in answer && status[answer.refused.code]).toBe('RESOURCE_EXHAUSTED')
    await expectServing()
  })

  it('a method and a service that there are none of are refused as such', async () => {
    for (const path of ['/ostraka.v1.KV/Drop', '/ostraka.v9.KV/Execute', '/']) {
      const answer = await unary(addressFor('KV'), path, new Uint8Array(0))
      expect('refused' in answer && status[answer.refused.code]).toBe('UNIMPLEMENTED')
    }
  })
})

async function config(): Promise<Config> {
  const controllers = await new NodeWorld().controllers(up.ready.controllers)
  try {
    return (await controllers.query(0, { timeoutMs: 10_000 })).config
  } finally {
    controllers.close()
  }
}

async function textOf(key: string): Promise<string | undefined> {
  return await withDatabase(async (database) => (await database.get(key))?.value.toString())
}

describe('requests to the leader of a group that are wrong in one field', () => {
  const key = Buffer.from('wrong')
  const shard = shardOf(slotOf(key), shardCount)
  const clientId = Buffer.alloc(16, 7)
  const good = { shard, sequence: 1, lowestOutstanding: 1, first: true }
  let group = ''
  let leader = ''

  beforeAll(async () => {
    const told = (await jsonOf((words) => up.run(words), ['explain', 'wrong'])) as { group: string; leader: string; configNumber: number }
    group = `${told.group}@${told.group.slice(1)}`
    leader = up.ready.nodes.find(({ id }) => id === told.leader)?.address ?? ''
  })

  /** All errors in the reply. */
  async function execute(request: pb.v1.ExecuteRequest.$Properties): Promise<pb.v1.Error.$Properties[]> {
    const answer = await unary(leader, '/ostraka.v1.KV/Execute', v1.ExecuteRequest.encode({ group, timeoutMs: 2000, ...request }).finish())
    if ('refused' in answer) throw answer.refused
    const reply = v1.ExecuteReply.decode(answer.bytes)
    return [reply, ...reply.writes, ...reply.reads].map(({ error }) => error).filter((error) => error !== null && error !== undefined)
  }

  const write = (command: pb.v1.Command.$Properties, batch: pb.v1.WriteBatch.$Properties = {}) =>
    execute({ writes: v1.WriteBatch.encode({ clientId, commands: [{ ...good, ...command }], ...batch }).finish() })

  it('a right one is taken, so that those below are refused for what is wrong in them', async () => {
    expect(await write({ put: { key, value: Buffer.from('right') } })).toEqual([])
    expect(await textOf('wrong')).toBe('right')
  })

  const put = { key, value: Buffer.from('wrong') }
  const other = Buffer.from('other key of another shard')
  const wrong: [string, () => Promise<pb.v1.Error.$Properties[]>][] = [
    ['no operation', () => write({})],
    ['an empty key', () => write({ put: { value: put.value } })],
    ['a key of 4097 bytes', () => write({ put: { key: Buffer.alloc(4097, 'k') } })],
    ['a value above 4 MiB', () => write({ put: { key, value: Buffer.alloc(4 * 1024 * 1024 + 1) } })],
    ['a shard that there is none of', () => write({ put, shard: 99_999 })],
    ["a shard that is not the key's", () => write({ put, shard: (shard + 1) % shardCount })],
    ['a batch over two shards', () => write({ batch: { writes: [{ put }, { put: { key: other } }] } })],
    ['an empty batch', () => write({ batch: {} })],
    ['no sequence', () => write({ put, sequence: 0 })],
    ['a sequence far above the lowest outstanding one', () => write({ put, sequence: 1_000_000 })],
    ['a sequence below the lowest outstanding one', () => write({ put, sequence: 2, lowestOutstanding: 3 })],
    ['a sequence past 2^53', () => write({ put, sequence: 2 ** 60, lowestOutstanding: 2 ** 60 })],
    ['an increment by a word', () => write({ increment: { key, by: 'one' } })],
    ['an increment past 64 bits', () => write({ increment: { key, by: '9223372036854775808' } })],
    ['a compare-and-set without a condition', () => write({ compareAndSet: { key, value: put.value } })],
    ['an endless time to live', () => write({ put: { ...put, ttlMs: 2 ** 60 } })],
    ['a client id of three bytes', () => write({ put }, { clientId: Buffer.alloc(3) })],
    ['a batch that is too old', () => write({ put }, { ageMs: 600_001 })],
    ['1001 commands', () => write({}, { commands: Array.from({ length: 1001 }, (_, i) => ({ ...good, sequence: i + 1, put })) })],
    ['writes that are no batch', () => execute({ writes: Buffer.alloc(10, 0xff) })],
    ['nothing to do', () => execute({})],
    ['a read of an empty key', () => execute({ reads: [{ shard }] })],
    ['a read mode that there is none of', () => execute({ reads: [{ shard, key, consistency: 9 as pb.v1.Consistency }] })],
    ['a wait of 49 days', () => execute({ reads: [{ shard, key }], timeoutMs: 2 ** 32 - 1 })],
    ['a group that there is none of', () => execute({ group: 'g1@999', reads: [{ shard, key }] })],
    ['a config number past 2^53', () => execute({ configNumber: 2 ** 60, reads: [{ shard, key }] })],
  ]
  it.each(wrong)('%s', async (what, send) => {
    const errors = await send()
    expect(errors.length, what).toBeGreaterThan(0)
    for (const error of errors) {
      expect(error).toMatchObject({ definite: true, code: expect.any(Number) })
      expect(error.code).not.toBe(0)
      expectPlain(error.message ?? '', what)
    }
    expect(await textOf('wrong')).toBe('right')
  })
})

describe('bytes that are no gRPC', () => {
  const garbage: [string, Uint8Array][] = [
    ['a request of HTTP/1.1', Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n')],
    ['the hello of TLS', Buffer.from('16030100f8010000f40303', 'hex')],
    ['random bytes', randomBytes(random, 10_000)],
    [
      'the preface of HTTP/2, then random bytes',
      Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), randomBytes(random, 10_000)]),
    ],
    ['a preface that breaks off', Buffer.from('PRI * HTTP')],
  ]
  it.each(garbage)('%s', async (_what, bytes) => {
    for (const address of [...addresses(), up.ready.nodes[0]?.http ?? '']) {
      await new Promise<void>((resolve) => {
        const socket = dial(Number(address.split(':')[1]), '127.0.0.1')
        socket.on('error', () => {})
        socket.on('close', () => resolve())
        socket.resume()
        socket.end(bytes)
      })
    }
    await expectServing()
  })
})
