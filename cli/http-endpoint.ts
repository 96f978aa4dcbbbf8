import { once } from 'node:events'
import http from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client'
import { assert } from '../base/assert.ts'
import type { Logger } from '../base/logger.ts'
import type { pb } from '../proto/messages.ts'
import type { RunningProcess } from '../raft/process.ts'
import { nodeStatusJson } from './status-json.ts'

/** How often the event loop monitor looks, once there is one. */
const monitorMs = 10

/** Of what a process tells over HTTP. */
export type Observed = Pick<RunningProcess, 'ready' | 'status'>

/**
 * `/livez` (the event loop turns), `/readyz` (a leader is known for every group hosted), `/metrics` (Prometheus), `/status` (as `admin status
 * NODE --json`). Open before the process has started: until `observe` it is alive and not ready.
 */
export class HttpEndpoint {
  /** HOST:PORT as bound. */
  readonly address: string
  readonly #server: http.Server
  /** From the first scrape on: Node's event loop monitor wakes the process a hundred times a second, which a node at rest does for nobody. */
  #metrics: Promise<Metrics> | undefined
  #observed: Observed | undefined

  private constructor(server: http.Server, address: string, logger: Logger) {
    this.#server = server
    this.address = address
    server.on('request', (request, response) => {
      this.#answer(request, response).catch((error: unknown) => {
        logger.warn({ err: error, url: request.url }, 'an HTTP request failed')
        send(response, 503, 'text/plain', 'not available\n')
      })
    })
  }

  /** Rejects with an Error whose `code` is EADDRINUSE, … and whose message names the address. */
  static async open(address: string, logger: Logger): Promise<HttpEndpoint> {
    const colon = address.lastIndexOf(':')
    const host = address.slice(0, colon)
    const server = http.createServer({ requestTimeout: 10_000, headersTimeout: 5_000 })
    server.listen({ host: host.replace(/^\[(.*)\]$/, '$1'), port: Number(address.slice(colon + 1)) })
    try {
      await once(server, 'listening')
    } catch (error) {
      const inUse = error instanceof Error && 'code' in error && error.code === 'EADDRINUSE'
      const why = inUse ? 'is in use: stop what listens there, or choose another port' : `cannot be listened on: ${String(error)}`
      throw new Error(`HTTP address ${address} ${why}`)
    }
    // A process out of descriptors cannot accept for a while; without a listener that would end it.
    server.on('error', (error) => logger.warn({ err: error }, 'the HTTP endpoint could not take a connection'))
    const bound = server.address()
    const port = bound !== null && typeof bound === 'object' ? bound.port : 0
    return new HttpEndpoint(server, `${host}:${port}`, logger)
  }

  observe(observed: Observed): void {
    this.#observed = observed
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
    const metrics = await this.#metrics
    metrics?.close()
  }

  async #answer(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    if (request.method !== 'GET' && request.method !== 'HEAD') return send(response, 405, 'text/plain', 'only GET\n')
    const observed = this.#observed
    switch (pathOf(request.url ?? '/')) {
      case '/livez':
        return send(response, 200, 'text/plain', 'alive\n')
      case '/readyz':
        return observed?.ready() === true ? send(response, 200, 'text/plain', 'ready\n') : send(response, 503, 'text/plain', 'not ready\n')
      case '/metrics':
        return await this.#tellMetrics(response)
      case '/status':
        if (observed === undefined) return send(response, 503, 'text/plain', 'starting\n')
        return send(response, 200, 'application/json', `${JSON.stringify(nodeStatusJson(await observed.status({})))}\n`)
      default:
        return send(response, 404, 'text/plain', 'there are /livez, /readyz, /metrics and /status\n')
    }
  }

  async #tellMetrics(response: http.ServerResponse): Promise<void> {
    this.#metrics ??= Metrics.begin()
    const metrics = await this.#metrics
    send(response, 200, metrics.contentType, await metrics.text(this.#observed))
  }
}

/** What is no URL is found nowhere. */
function pathOf(url: string): string {
  const base = 'http://localhost'
  return URL.canParse(url, base) ? new URL(url, base).pathname : ''
}

function send(response: http.ServerResponse, status: number, contentType: string, body: string): void {
  if (response.headersSent) return
  response.writeHead(status, { 'content-type': contentType })
  response.end(body)
}

const groupGauges = {
  term: 'Raft term',
  commit: 'Commit index',
  applied: 'Applied index',
  lastIndex: 'Last index of the log',
  firstIndex: 'First index still in the log',
  logBytes: 'Bytes of the group still needed in the shared log',
  snapshotIndex: 'Index up to which the durable state stands',
  configNumber: 'Config number that the replica has seen',
} as const

/** Node's own figures (event loop lag, memory, processor) and those of each group. */
class Metrics {
  readonly #registry = new Registry()
  readonly #gauges = new Map<keyof typeof groupGauges, Gauge>()
  readonly #leads: Gauge
  readonly #shards: Gauge
  readonly #reads: Gauge
  readonly #writes: Gauge

  /** Before its first samples the monitor's figures are none: NaN, and a least lag of centuries. */
  static async begin(): Promise<Metrics> {
    const metrics = new Metrics()
    await sleep(5 * monitorMs)
    return metrics
  }

  private constructor() {
    collectDefaultMetrics({ register: this.#registry, eventLoopMonitoringPrecision: monitorMs })
    // They count from here on; what was used before belongs to them, too.
    const { user, system } = process.cpuUsage()
    this.#add('process_cpu_user_seconds_total', user / 1e6)
    this.#add('process_cpu_system_seconds_total', system / 1e6)
    this.#add('process_cpu_seconds_total', (user + system) / 1e6)
    const registers = [this.#registry]
    for (const [field, help] of Object.entries(groupGauges)) {
      const name = `ostraka_group_${field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)}`
      this.#gauges.set(field as keyof typeof groupGauges, new Gauge({ name, help, labelNames: ['group'], registers }))
    }
    this.#leads = new Gauge({ name: 'ostraka_group_is_leader', help: '1 where this process leads', labelNames: ['group'], registers })
    this.#shards = new Gauge({ name: 'ostraka_group_shards', help: 'Shards by state', labelNames: ['group', 'state'], registers })
    const ofShards = { labelNames: ['group', 'shard'], registers }
    this.#reads = new Gauge({ name: 'ostraka_shard_reads_per_second', help: 'Reads that this node serves of the shard', ...ofShards })
    this.#writes = new Gauge({ name: 'ostraka_shard_writes_per_second', help: 'Writes that this node serves of the shard', ...ofShards })
  }

  #add(counter: string, value: number): void {
    const found = this.#registry.getSingleMetric(counter)
    assert(found instanceof Counter, `${counter} is counted`)
    found.inc(value)
  }

  get contentType(): string {
    return this.#registry.contentType
  }

  async text(observed: Observed | undefined): Promise<string> {
    const status = await observed?.status({})
    for (const gauge of [...this.#gauges.values(), this.#leads, this.#shards, this.#reads, this.#writes]) gauge.reset()
    for (const replica of status?.replicas ?? []) {
      const labels = { group: replica.group ?? '' }
      for (const [field, gauge] of this.#gauges) gauge.set(labels, replica[field] ?? 0)
      this.#leads.set(labels, replica.role === 'leader' ? 1 : 0)
      for (const shard of replica.shards ?? []) {
        this.#shards.inc({ ...labels, state: shard.state ?? '' })
        this.#tellLoad({ ...labels, shard: String(shard.shard ?? 0) }, shard)
      }
    }
    return await this.#registry.metrics()
  }

  /** Of idle shards nothing: there may be thousands. */
  #tellLoad(labels: { group: string; shard: string }, { readsPerSecond, writesPerSecond }: pb.v1.ShardStatus.$Properties): void {
    if (!readsPerSecond && !writesPerSecond) return
    this.#reads.set(labels, readsPerSecond ?? 0)
    this.#writes.set(labels, writesPerSecond ?? 0)
  }

  close(): void {
    this.#registry.clear()
  }
}
