import { describe, expect, it } from 'vitest'
import { must } from '../../base/assert.ts'
import { utf8 } from '../../base/bytes.ts'
import { crc32 } from '../../base/checksum.ts'
import { DiskError } from '../../base/errors.ts'
import { readFile, replaceFile } from '../../base/file-system.ts'
import { SeededRandom } from '../../base/random.ts'
import { OstrakaError } from '../../proto/errors.ts'
import { pb } from '../../proto/messages.ts'
import { type FetchOptions, fetchFiles } from '../../raft/file-fetch.ts'
import { FileServer } from '../../raft/file-server.ts'
import type { FileSet, FileSource } from '../../raft/file-set.ts'
import { Pace } from '../../raft/pace.ts'
import { SystemError } from '../sim/sim-disk.ts'
import { SimNetwork } from '../sim/sim-network.ts'
import { SimProcess } from '../sim/sim-process.ts'
import { World } from '../sim/world.ts'

const cluster = new Uint8Array(16).fill(1)
const mebi = 1024 * 1024

/** Sets whose files lie in folders of their own; made on demand, removed on release. */
class Source implements FileSource {
  readonly #process: SimProcess
  readonly contents: ReadonlyMap<string, Uint8Array>
  made = 0
  readonly released: FileSet[] = []
  /** Nobody will ask for them again. */
  readonly over = new Set<FileSet>()
  current: FileSet | undefined
  failure: Error | undefined
  pace?: Pace

  constructor(process: SimProcess, contents: ReadonlyMap<string, Uint8Array>) {
    this.#process = process
    this.contents = contents
  }

  async open(): Promise<FileSet> {
    if (this.failure !== undefined) throw this.failure
    if (this.current !== undefined) return this.current
    const folder = `sets/${this.#process.incarnation}.${++this.made}`
    await this.#process.fileSystem.makeFolder(folder)
    for (const [name, bytes] of this.contents) await replaceFile(this.#process.fileSystem, `${folder}/${name}`, bytes)
    const files = [...this.contents].map(([name, bytes]) => ({ name, size: bytes.length, checksum: crc32(bytes) }))
    this.current = { folder, description: utf8(`set ${this.made}`), files }
    return this.current
  }

  release(set: FileSet): void {
    this.released.push(set)
    if (this.current === set) this.current = undefined
  }

  isOver(set: FileSet): boolean {
    return this.over.has(set)
  }
}

class Rig {
  readonly world: World
  readonly contents: Map<string, Uint8Array>
  readonly progress: number[] = []
  readonly failures: Error[] = []
  sender: SimProcess
  receiver: SimProcess
  source: Source
  server: FileServer
  /** Reads that the server answered, of this incarnation. */
  reads: pb.v1.ReadFileRequest[] = []
  /** Changes a reply on its way. */
  tamper: ((reply: pb.v1.ReadFileReply, request: pb.v1.ReadFileRequest) => void) | undefined

  constructor(seed: number) {
    const random = new SeededRandom(seed)
    this.world = new World({ seed })
    const network = new SimNetwork(this.world)
    this.contents = new Map([
      ['000001.sst', random.bytes(3 * mebi + 17)],
      ['000002.sst', random.bytes(100)],
      ['empty', new Uint8Array(0)],
      ['MANIFEST-000003', random.bytes(mebi)],
    ])
    this.sender = new SimProcess(this.world, { name: 'a', network })
    this.receiver = new SimProcess(this.world, { name: 'b', network })
    this.source = new Source(this.sender, this.contents)
    this.server = this.#serve()
  }

  #serve(): FileServer {
    const { fileSystem, clock, random, logger, transport } = this.sender
    const server = new FileServer({
      fileSystem,
      clock,
      random,
      logger,
      onFailure: (error) => this.failures.push(error),
      clusterId: () => cluster,
      snapshots: (group) => (group === 'g1@1' ? this.source : undefined),
      exports: () => undefined,
    })
    const [open, read] = server.routes()
    const tampered = {
      ...must(read, 'a route'),
      handle: async (request: pb.v1.ReadFileRequest) => {
        this.reads.push(request)
        const reply = await server.read(request)
        this.tamper?.(reply, request)
        return reply
      },
    }
    void transport.listen([{ name: 'default', address: 'a:1' }], [must(open, 'a route'), tampered])
    return server
  }

  restartSender(how: 'kill' | 'powerLoss' = 'kill'): void {
    this.sender[how]()
    this.sender = this.sender.restart()
    this.source = new Source(this.sender, this.contents)
    this.reads = []
    this.server = this.#serve()
  }

  restartReceiver(how: 'kill' | 'powerLoss'): void {
    this.receiver[how]()
    this.receiver = this.receiver.restart()
    this.reads = []
  }

  fetch(options: Partial<FetchOptions> = {}): Promise<FileSet> {
    const { transport, fileSystem, clock } = this.receiver
    return fetchFiles({
      transport,
      address: 'a:1',
      fileSystem,
      clock,
      clusterId: () => cluster,
      request: { group: 'g1@1', snapshot: { minIndex: 1 } },
      folder: 'fetched',
      onProgress: (copied) => this.progress.push(copied),
      ...options,
    })
  }

  async expectFetched(set: FileSet): Promise<void> {
    expect(set.files.map(({ name }) => name)).toEqual([...this.contents.keys()])
    const names = await this.world.settle(this.receiver.fileSystem.list('fetched'))
    expect(names).toEqual([...this.contents.keys()].sort())
    for (const [name, bytes] of this.contents) {
      const there = await this.world.settle(readFile(this.receiver.fileSystem, `fetched/${name}`))
      expect(Buffer.compare(there, bytes), name).toBe(0)
    }
  }

  /** Until the receiver has so many bytes; the fetch goes on. */
  async runUntilCopied(bytes: number): Promise<void> {
    await this.world.runUntil(() => this.progress.some((copied) => copied >= bytes))
  }
}

async function codeOf(world: World, promise: Promise<unknown>): Promise<string> {
  const outcome = await world.settle(promise.catch((error: unknown) => error))
  return outcome instanceof OstrakaError ? outcome.code : String(outcome)
}

describe('a fetch of files', () => {
  it('brings all files, durably, and says how far it is', async () => {
    const rig = new Rig(1)
    const set = await rig.world.settle(rig.fetch())
    rig.receiver.powerLoss()
    rig.receiver = rig.receiver.restart({})
    await rig.expectFetched(set)
    expect(set.description).toEqual(utf8('set 1'))
    expect([...rig.progress].sort((a, b) => a - b)).toEqual(rig.progress)
    expect(rig.progress.at(-1)).toBe(4 * mebi + 117)
  })

  it('asks again for a piece that came damaged, and writes none that is', async () => {
    const rig = new Rig(2)
    let damaged = 0
    rig.tamper = (reply, { offset }) => {
      if (offset === mebi && damaged++ < 2) reply.data = reply.data.map((byte, i) => (i === 5 ? byte ^ 1 : byte))
    }
    await rig.expectFetched(await rig.world.settle(rig.fetch()))
    expect(damaged).toBe(3)
  })

  it('takes short replies', async () => {
    const rig = new Rig(3)
    rig.tamper = (reply) => {
      reply.data = reply.data.subarray(0, Math.min(reply.data.length, 300_000))
      reply.checksum = crc32(reply.data)
    }
    await rig.expectFetched(await rig.world.settle(rig.fetch()))
  })

  it('refuses a file that is not what was announced, though each piece is whole', async () => {
    const rig = new Rig(4)
    rig.tamper = (reply, { file }) => {
      if (file !== '000002.sst') return
      reply.data = new Uint8Array(reply.data.length)
      reply.checksum = crc32(reply.data)
    }
    expect(await codeOf(rig.world, rig.fetch())).toBe('UNAVAILABLE')
    expect(await rig.world.settle(rig.receiver.fileSystem.exists('fetched/000002.sst'))).toBe(false)
  })

  it.each(['kill', 'powerLoss'] as const)('goes on after the receiver ended by %s', async (how) => {
    for (let seed = 10; seed < 30; seed++) {
      const rig = new Rig(seed)
      void rig.fetch().catch(() => undefined)
      await rig.runUntilCopied(2 * mebi)
      rig.restartReceiver(how)
      await rig.expectFetched(await rig.world.settle(rig.fetch()))
      const first = must(
        rig.reads.find(({ file }) => file === '000001.sst'),
        'a read',
      )
      // Unsynced bytes may be lost with the power, those of a killed process are not.
      if (how === 'kill') expect(first.offset).toBeGreaterThanOrEqual(2 * mebi)
      expect(rig.source.made).toBe(1)
    }
  })

  it.each(['kill', 'powerLoss'] as const)('goes on when the sender ended by %s and came back with another set', async (how) => {
    const rig = new Rig(5)
    const fetching = rig.fetch()
    await rig.runUntilCopied(2 * mebi)
    rig.restartSender(how)
    const outcome = await rig.world.settle(fetching.catch((error: unknown) => error))
    const set = outcome instanceof Error ? await rig.world.settle(rig.fetch()) : (outcome as FileSet)
    await rig.expectFetched(set)
    expect(rig.reads.filter(({ file, offset }) => file === '000001.sst' && offset < 2 * mebi)).toEqual([])
  })

  it('opens the set again where its server holds it no more', async () => {
    const rig = new Rig(6)
    const fetching = rig.fetch()
    await rig.runUntilCopied(2 * mebi)
    rig.server.close()
    rig.restartSender()
    await rig.expectFetched(await rig.world.settle(fetching))
  })

  it('replaces what belongs to another set, and keeps what both have', async () => {
    const rig = new Rig(7)
    await rig.world.settle(rig.fetch())
    rig.contents.set('000002.sst', new Uint8Array(50).fill(3))
    rig.contents.delete('empty')
    rig.contents.set('000009.sst', new Uint8Array(60).fill(4))
    rig.restartSender()
    await rig.expectFetched(await rig.world.settle(rig.fetch()))
    expect(rig.reads.map(({ file }) => file).sort()).toEqual(['000002.sst', '000009.sst'])
  })

  it('the power lost at any file operation of the receiver loses nothing of the result', async () => {
    let steps = 0
    for (let k = 1; ; k += 3) {
      const rig = new Rig(100 + k)
      rig.receiver.disk.faultAt(k, 'crash')
      const outcome = { done: false }
      rig.fetch().then(
        () => (outcome.done = true),
        () => undefined,
      )
      await rig.world.runUntil(() => outcome.done || !rig.receiver.alive)
      if (outcome.done) break
      rig.restartReceiver('kill')
      await rig.expectFetched(await rig.world.settle(rig.fetch()))
      steps++
    }
    expect(steps).toBeGreaterThan(10)
  }, 60_000)

  it('keeps to the rate that it is given', async () => {
    const rig = new Rig(8)
    const startMs = rig.world.nowMs
    await rig.world.settle(rig.fetch({ pace: new Pace(rig.receiver.clock, { bytesPerSecond: mebi }) }))
    expect(rig.world.nowMs - startMs).toBeGreaterThan(3000)
    expect(rig.world.nowMs - startMs).toBeLessThan(6000)
  })

  it('keeps to the rate of its source, whoever asks; who would wait for too long is told to ask again, and gets all in the end', async () => {
    const rig = new Rig(8)
    rig.source.pace = new Pace(rig.sender.clock, { bytesPerSecond: mebi })
    const startMs = rig.world.nowMs
    await rig.expectFetched(await rig.world.settle(rig.fetch()))
    expect(rig.world.nowMs - startMs).toBeGreaterThan(3000)
    expect(rig.world.nowMs - startMs).toBeLessThan(8000)
    // About a quarter of a second's worth at a time, whatever was asked for.
    expect(Math.max(...rig.reads.map(({ length }) => length))).toBe(mebi)
    expect(rig.reads.length).toBeGreaterThan(12)
    rig.source.pace = new Pace(rig.sender.clock, { bytesPerSecond: mebi })
    void rig.source.pace.wait(30 * mebi)
    const askedMs = rig.world.nowMs
    await rig.expectFetched(await rig.world.settle(rig.fetch({ folder: 'again' }), 120_000))
    expect(rig.world.nowMs - askedMs).toBeGreaterThan(25_000)
  })

  it('ends when it is cancelled, and says so', async () => {
    const rig = new Rig(9)
    const controller = new AbortController()
    const fetching = rig.fetch({ signal: controller.signal, pace: new Pace(rig.receiver.clock, { bytesPerSecond: mebi }) })
    await rig.runUntilCopied(1)
    controller.abort()
    expect(await codeOf(rig.world, fetching)).toBe('CANCELLED')
  })

  it('passes on what the peer says', async () => {
    const rig = new Rig(10)
    expect(await codeOf(rig.world, rig.fetch({ request: { group: 'g2@1', snapshot: { minIndex: 1 } } }))).toBe('NOT_FOUND')
    expect(await codeOf(rig.world, rig.fetch({ request: { group: 'g1@1', export: { migration: 1, attempt: 1 } } }))).toBe('NOT_FOUND')
    rig.source.failure = new OstrakaError('UNAVAILABLE', 'still being made', true)
    expect(await codeOf(rig.world, rig.fetch())).toBe('UNAVAILABLE')
    rig.source.failure = new Error('a bug')
    expect(await codeOf(rig.world, rig.fetch())).toBe('UNAVAILABLE')
    expect(await codeOf(rig.world, rig.fetch({ clusterId: () => new Uint8Array(16).fill(2) }))).toBe('FAILED_PRECONDITION')
    expect(await codeOf(rig.world, rig.fetch({ address: 'nowhere:1' }))).toBe('UNAVAILABLE')
  })

  it('takes no name that leads out of its folder', async () => {
    for (const name of ['../identity', 'a/b', '.hidden', 'x.part', '']) {
      const rig = new Rig(11)
      rig.source.current = { folder: 'sets', description: utf8(''), files: [{ name, size: 1, checksum: 0 }] }
      expect(await codeOf(rig.world, rig.fetch()), name).toBe('UNAVAILABLE')
      expect(rig.reads).toEqual([])
    }
  })
})

describe('the server of files', () => {
  const snapshot = (minIndex: number) => new pb.v1.OpenFilesRequest({ clusterId: cluster, group: 'g1@1', snapshot: { minIndex } })

  it('has concurrent callers share a set, and releases it once, a minute after the last call', async () => {
    const rig = new Rig(20)
    const replies = await rig.world.settle(Promise.all([rig.server.open(snapshot(1)), rig.server.open(snapshot(1))]))
    const late = await rig.world.settle(rig.server.open(snapshot(2)))
    expect(new Set([...replies, late].map(({ set }) => set)).size).toBe(1)
    expect(rig.source.made).toBe(1)
    await rig.world.runFor(50_000)
    const read = { clusterId: cluster, set: late.set, file: '000002.sst', offset: 10, length: 20 }
    const piece = await rig.world.settle(rig.server.read(new pb.v1.ReadFileRequest(read)))
    expect(piece.data).toEqual(must(rig.contents.get('000002.sst'), 'a file').subarray(10, 30))
    await rig.world.runFor(50_000)
    expect(rig.source.released).toEqual([])
    await rig.world.runFor(11_000)
    expect(rig.source.released).toHaveLength(1)
    expect(rig.server.held).toBe(0)
    const gone = await rig.world.settle(rig.server.read(new pb.v1.ReadFileRequest(read)))
    expect(gone.error?.code).toBe(pb.v1.ErrorCode.NOT_FOUND)
  })

  it('tells of a sync that failed in making a set, not of a read that did', async () => {
    const rig = new Rig(24)
    rig.source.failure = new SystemError('EIO', 'a table')
    expect((await rig.world.settle(rig.server.open(snapshot(1)))).error?.code).toBe(pb.v1.ErrorCode.UNAVAILABLE)
    expect(rig.failures).toEqual([])
    const failure = new DiskError('sync of a folder failed')
    rig.source.failure = failure
    expect((await rig.world.settle(rig.server.open(snapshot(1)))).error?.code).toBe(pb.v1.ErrorCode.UNAVAILABLE)
    expect(rig.failures).toEqual([failure])
  })

  it('gives at most a mebibyte at a time, nothing behind the end, and no file that is not in the set', async () => {
    const rig = new Rig(21)
    const { set } = await rig.world.settle(rig.server.open(snapshot(1)))
    const read = async (file: string, offset: number, length: number) =>
      await rig.world.settle(rig.server.read(new pb.v1.ReadFileRequest({ clusterId: cluster, set, file, offset, length })))
    expect((await read('000001.sst', 0, 9 * mebi)).data).toHaveLength(mebi)
    expect((await read('000002.sst', 200, 10)).data).toHaveLength(0)
    expect((await read('../identity', 0, 10)).error?.code).toBe(pb.v1.ErrorCode.INVALID_ARGUMENT)
  })

  it('holds a bounded number of sets, and all are released when it closes', async () => {
    const rig = new Rig(22)
    const codes: number[] = []
    for (let i = 0; i < 20; i++) {
      rig.source.current = undefined
      codes.push((await rig.world.settle(rig.server.open(snapshot(i + 1)))).error?.code ?? 0)
    }
    expect(codes).toEqual([...Array(16).fill(0), ...Array(4).fill(pb.v1.ErrorCode.UNAVAILABLE)])
    expect(rig.source.released).toHaveLength(4)
    rig.server.close()
    expect(rig.source.released).toHaveLength(20)
    expect((await rig.world.settle(rig.server.open(snapshot(1)))).error?.code).toBe(pb.v1.ErrorCode.UNAVAILABLE)
  })

  it('lets go of what nobody has asked for in ten seconds where another set needs its place', async () => {
    const rig = new Rig(23)
    const tokens: string[] = []
    for (let i = 0; i < 16; i++) {
      rig.source.current = undefined
      tokens.push((await rig.world.settle(rig.server.open(snapshot(i + 1)))).set)
    }
    await rig.world.runFor(9000)
    const read = (set = '') => rig.server.read(new pb.v1.ReadFileRequest({ clusterId: cluster, set, file: '000002.sst', length: 10 }))
    expect((await rig.world.settle(read(tokens[0]))).data).toHaveLength(10)
    await rig.world.runFor(2000)
    rig.source.current = undefined
    expect((await rig.world.settle(rig.server.open(snapshot(17)))).error).toBeFalsy()
    expect(rig.server.held).toBe(16)
    expect(rig.source.released.map(({ description }) => description)).toEqual([utf8('set 2')])
    expect((await rig.world.settle(read(tokens[0]))).data).toHaveLength(10)
    rig.server.close()
  })

  it('lets go at once of what is over where another set needs its place, however lately it was asked for', async () => {
    const rig = new Rig(25)
    const ended: string[] = []
    for (let i = 0; i < 30; i++) {
      rig.source.current = undefined
      const { set, error } = await rig.world.settle(rig.server.open(snapshot(i + 1)))
      expect(error).toBeFalsy()
      if (i % 2 === 0) continue
      rig.source.over.add(must(rig.source.current as FileSet | undefined, 'a set'))
      ended.push(set)
    }
    expect(rig.server.held).toBeLessThanOrEqual(16)
    expect(rig.source.released.length).toBeGreaterThan(0)
    expect(rig.source.released.every((set) => rig.source.over.has(set))).toBe(true)
    const read = { clusterId: cluster, set: ended[0] ?? '', file: '000002.sst', length: 10 }
    expect((await rig.world.settle(rig.server.read(new pb.v1.ReadFileRequest(read)))).error?.code).toBe(pb.v1.ErrorCode.NOT_FOUND)
    rig.server.close()
  })
})
