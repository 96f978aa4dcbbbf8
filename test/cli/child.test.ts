import { afterEach, expect, it } from 'vitest'
import { Child } from '../../cli/child.ts'

const children: Child[] = []
afterEach(async () => {
  for (const child of children.splice(0)) child.kill()
})

const ready = `process.stdout.write(JSON.stringify({ ready: true, id: 'n1', address: 'h:1' }) + '\\n')`
const untilStdinEnds = `process.stdin.resume().on('end', () => process.exit(0))`

function start(script: string, restart = true) {
  const reports: string[] = []
  let gone: (code: number | null) => void = () => {}
  const whenGone = new Promise<number | null>((resolve) => {
    gone = resolve
  })
  const child = new Child({
    id: 'n1',
    command: process.execPath,
    parameters: ['-e', script],
    environment: process.env,
    restart,
    report: (text) => reports.push(text),
    onGone: (code) => gone(code),
  })
  children.push(child)
  return { child, reports, whenGone }
}

it('hears the ready line among others, and stops the child by the end of its stdin', async () => {
  const { child, reports } = start(`console.log('hello'); ${ready}; ${untilStdinEnds}`)
  expect(await child.ready).toEqual({ ready: true, id: 'n1', address: 'h:1' })
  await child.stop()
  expect(reports).toEqual([])
})

it('starts a child again that was killed', async () => {
  const { child, reports } = start(`${ready}; ${untilStdinEnds}`)
  await child.ready
  const first = child.pid
  child.kill()
  await expect.poll(() => reports, { timeout: 10_000 }).toHaveLength(2)
  expect(reports[0]).toMatch(/^n1 has ended \(SIGKILL\), starting it again in \d+ ms$/)
  expect(reports[1]).toBe(`n1 is back (pid ${child.pid})`)
  expect(child.pid).not.toBe(first)
  await child.stop()
})

it.each([65, 74, 78])('leaves a child dead that ended with %i', async (code) => {
  const { whenGone, reports } = start(`${ready}; setTimeout(() => process.exit(${code}), 50)`)
  expect(await whenGone).toBe(code)
  expect(reports).toEqual([`n1 has ended (exit code ${code})`])
})

it('leaves a child dead whose first start failed, and any with restart off', async () => {
  expect(await start('process.exit(1)').whenGone).toBe(1)
  const { child, whenGone } = start(`${ready}; ${untilStdinEnds}`, false)
  await child.ready
  child.kill()
  expect(await whenGone).toBe(null)
})
