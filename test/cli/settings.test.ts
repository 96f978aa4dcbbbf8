import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { controllerSchema, resolveGiven, resolveSettings, serverSchema, tuningArguments, upSchema } from '../../cli/settings.ts'

const folder = mkdtempSync(path.join(os.tmpdir(), 'ostraka-settings-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function config(content: unknown): string {
  const file = path.join(folder, 'config.json')
  writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content))
  return file
}

const nothing = { flags: {}, environment: {}, file: undefined }
const server = { id: 'n1', listen: ['127.0.0.1:0'], controllers: 'h:1,h:2', data: '/d' }

describe('settings', () => {
  it('have the defaults of the contract', () => {
    expect(resolveSettings(upSchema, nothing)).toEqual({
      nodes: 3,
      groups: 3,
      shards: 256,
      data: '.ostraka',
      'base-port': 7400,
      fresh: false,
      'no-restart': false,
      'election-timeout-ms': 1000,
      'heartbeat-ms': 100,
      'snapshot-log-bytes': 67_108_864,
      'memtable-bytes': 67_108_864,
      'block-cache-bytes': 134_217_728,
      'disk-reserve-bytes': 16_777_216,
      'max-migrations': 2,
      'balance-leaders': true,
      'read-mode': 'linearizable',
      'log-level': 'info',
    })
  })

  it('take a flag over the environment over the file over the default', () => {
    const file = config({ 'election-timeout-ms': 300, 'heartbeat-ms': 30, 'memtable-bytes': '2097152' })
    const environment = { OSTRAKA_ELECTION_TIMEOUT_MS: '200', OSTRAKA_HEARTBEAT_MS: '20', OSTRAKA_NODES: '' }
    const { settings, names } = resolveGiven(upSchema, { flags: { 'election-timeout-ms': '100' }, environment, file })
    expect(settings).toMatchObject({ 'election-timeout-ms': 100, 'heartbeat-ms': 20, 'memtable-bytes': 2_097_152, nodes: 3 })
    expect([...names].sort()).toEqual(['election-timeout-ms', 'heartbeat-ms', 'memtable-bytes'])
  })

  it('read listeners, peers and controllers', () => {
    const flags = { ...server, listen: ['inside=0.0.0.0:7410', 'outside=[::]:0'], advertise: ['outside=localhost:9'] }
    expect(resolveSettings(serverSchema, { ...nothing, flags })).toMatchObject({
      listen: [
        { name: 'inside', address: '0.0.0.0:7410' },
        { name: 'outside', address: '[::]:0' },
      ],
      advertise: [{ name: 'outside', address: 'localhost:9' }],
      controllers: ['h:1', 'h:2'],
    })
    const controller = { id: 'c1', listen: ['h:1'], data: '/d', peers: 'c1=h:1,c2=h:2', shards: '16' }
    expect(resolveSettings(controllerSchema, { ...nothing, flags: controller })).toMatchObject({
      peers: [
        { id: 'c1', address: 'h:1' },
        { id: 'c2', address: 'h:2' },
      ],
      shards: 16,
    })
    const file = config({ ...server, listen: ['a=h:1', 'b=h:2'] })
    expect(resolveSettings(serverSchema, { ...nothing, file }).listen).toHaveLength(2)
    const environment = { OSTRAKA_LISTEN: 'a=h:1,b=h:2' }
    expect(resolveSettings(serverSchema, { flags: { ...server, listen: undefined }, environment, file: undefined }).listen).toHaveLength(2)
  })

  it.each([
    [{ id: undefined }, '--id is missing'],
    [{ id: 'a b' }, '--id: '],
    [{ listen: ['h'] }, '--listen: '],
    [{ listen: ['h:1', 'h:2'] }, 'same name'],
    [{ advertise: ['h:0'] }, '--advertise: '],
    [{ controllers: 'h:1,,' }, '--controllers: '],
    [{ controllers: 'http://h:1' }, '--controllers: '],
    [{ 'election-timeout-ms': '1.5' }, '--election-timeout-ms: '],
    [{ 'election-timeout-ms': '1' }, '--election-timeout-ms: '],
    [{ 'memtable-bytes': '-1' }, '--memtable-bytes: '],
    [{ 'read-mode': 'dirty' }, '--read-mode: '],
    [{ 'log-level': 'loud' }, '--log-level: '],
  ])('refuse %j with wrong usage that names the flag', (flags, message) => {
    expect(() => resolveSettings(serverSchema, { ...nothing, flags: { ...server, ...flags } })).toThrow(
      expect.objectContaining({ exitCode: 2, message: expect.stringContaining(message) }),
    )
  })

  it.each([
    ['{', 'cannot be read'],
    ['[]', 'no JSON object'],
    ['{"nods":1}', "unknown key 'nods'"],
    ['{"__proto__":1}', "unknown key '__proto__'"],
    ['{"nodes":11}', 'nodes in '],
    ['{"shards":100}', 'power of two'],
    ['{"fresh":"perhaps"}', 'fresh in '],
  ])('refuse the file %s', (content, message) => {
    expect(() => resolveSettings(upSchema, { ...nothing, file: config(content) })).toThrow(
      expect.objectContaining({ exitCode: 2, message: expect.stringContaining(message) }),
    )
  })

  it('refuse a file that is not there, and name a variable that is wrong', () => {
    expect(() => resolveSettings(upSchema, { ...nothing, file: '/nowhere/at/all' })).toThrow('--config /nowhere/at/all cannot be read')
    expect(() => resolveSettings(upSchema, { ...nothing, environment: { OSTRAKA_NODES: 'x' } })).toThrow('OSTRAKA_NODES: ')
  })

  it('hand their tuning on as flags that give the same', () => {
    const flags = { 'migration-bytes-per-second': '2048', 'read-mode': 'lease', 'heartbeat-ms': '50' }
    const settings = resolveSettings(upSchema, { ...nothing, flags })
    const words = tuningArguments(settings)
    const again = Object.fromEntries(words.flatMap((word, i) => (word.startsWith('--') ? [[word.slice(2), words[i + 1]]] : [])))
    expect(resolveSettings(upSchema, { ...nothing, flags: again })).toEqual(settings)
  })
})
