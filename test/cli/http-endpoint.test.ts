import http from 'node:http'
import perfHooks from 'node:perf_hooks'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { silentLogger } from '../../base/logger.ts'
import { HttpEndpoint } from '../../cli/http-endpoint.ts'
import { FakeWorld } from './fake-world.ts'

let endpoint: HttpEndpoint
beforeEach(async () => {
  endpoint = await HttpEndpoint.open('127.0.0.1:0', silentLogger)
})
afterEach(() => endpoint.close())

async function get(path: string): Promise<[number, string]> {
  const response = await fetch(`http://${endpoint.address}${path}`)
  return [response.status, await response.text()]
}

it('is alive and not ready before the process has started', async () => {
  expect((await get('/livez'))[0]).toBe(200)
  expect((await get('/readyz'))[0]).toBe(503)
  expect((await get('/status'))[0]).toBe(503)
  expect((await get('/metrics'))[0]).toBe(200)
  expect((await get('/else'))[0]).toBe(404)
  expect((await fetch(`http://${endpoint.address}/livez`, { method: 'POST' })).status).toBe(405)
})

it('finds nothing where the path is no URL', async () => {
  const [host, port] = endpoint.address.split(':')
  const status = await new Promise((resolve, reject) => {
    http.get({ host, port, path: '//' }, (response) => resolve(response.resume().statusCode)).on('error', reject)
  })
  expect(status).toBe(404)
})

it('outlives a connection that it cannot take', async () => {
  const made = vi.spyOn(http, 'createServer')
  const other = await HttpEndpoint.open('127.0.0.1:0', silentLogger)
  const server = made.mock.results[0]?.value as http.Server
  made.mockRestore()
  expect(() => server.emit('error', Object.assign(new Error('accept EMFILE'), { code: 'EMFILE' }))).not.toThrow()
  expect((await fetch(`http://${other.address}/livez`)).status).toBe(200)
  await other.close()
})

it('tells readiness, state and figures of each group', async () => {
  let isReady = false
  endpoint.observe({ ready: () => isReady, status: () => new FakeWorld().nodeStatus('', {}, 0) })
  expect((await get('/readyz'))[0]).toBe(503)
  isReady = true
  expect((await get('/readyz'))[0]).toBe(200)
  expect(JSON.parse((await get('/status'))[1])).toMatchObject({ id: 'n1', groups: { g1: { role: 'leader', logBytes: 9000 } } })
  const [, metrics] = await get('/metrics')
  expect(metrics).toContain('ostraka_group_log_bytes{group="g1"} 9000')
  expect(metrics).toContain('ostraka_group_is_leader{group="g1"} 1')
  expect(metrics).toContain('ostraka_group_shards{group="g1",state="serving"} 1')
  expect(metrics).toContain('ostraka_shard_reads_per_second{group="g1",shard="0"} 7.125')
  expect(metrics).not.toContain('shard="5"')
  expect(metrics).toContain('nodejs_eventloop_lag_seconds')
})

it('watches the event loop only once somebody asks for its figures, and tells no figures that it has not got', async () => {
  const monitored = vi.spyOn(perfHooks, 'monitorEventLoopDelay')
  try {
    expect((await get('/livez'))[0]).toBe(200)
    expect(monitored).not.toHaveBeenCalled()
    const [, first] = await get('/metrics')
    expect(first).not.toMatch(/nan/i)
    expect(Number(/^nodejs_eventloop_lag_min_seconds (.*)$/m.exec(first)?.[1])).toBeLessThan(60)
    const usedSeconds = Number(/^process_cpu_seconds_total (.*)$/m.exec(first)?.[1])
    expect(usedSeconds).toBeGreaterThan(0.01)
    expect((await get('/metrics'))[0]).toBe(200)
    expect(monitored).toHaveBeenCalledTimes(1)
  } finally {
    monitored.mockRestore()
  }
})

it('answers 503 where the state cannot be had', async () => {
  endpoint.observe({ ready: () => true, status: () => Promise.reject(new Error('closing')) })
  expect(await get('/status')).toEqual([503, 'not available\n'])
})

it('names an address that is in use', async () => {
  await expect(HttpEndpoint.open(endpoint.address, silentLogger)).rejects.toThrow(`HTTP address ${endpoint.address} is in use`)
})
