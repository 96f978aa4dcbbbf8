/** Parsers of the histories that the porcupine checker is tested with. */
import { must } from '../../base/assert.ts'
import { HistoryRecorder, type Operation } from './history.ts'
import type { KvInput, KvOutput, RegisterInput, RegisterOutput } from './model.ts'
import { Text } from './text.ts'

const KV_LINE = /^\{:process (\d+), :type :(invoke|ok), :f :(get|put|append), :key "(.*?)", :value (nil|"(.*)")\}$/

/** One event a line; the order of the lines is real time. */
export function parseKv(text: string): Operation<KvInput, KvOutput>[] {
  const recorder = new HistoryRecorder<KvInput, KvOutput>()
  const open = new Map<string, number>()
  for (const line of text.split('\n')) {
    if (line.trim() === '') continue
    const match = must(KV_LINE.exec(line.trim()), `not an event: ${line}`)
    const [process, type, op, key, value] = [match[1] ?? '', match[2], match[3], match[4] ?? '', Text.of(match[6] ?? '')]
    if (type === 'invoke') open.set(process, recorder.call(process, key, op === 'put' || op === 'append' ? { op, value } : { op: 'get' }))
    else recorder.return(must(open.get(process), `a return without a call: ${line}`), op === 'get' ? { value } : {})
  }
  return recorder.operations()
}

const REGISTER_LINE = /^INFO\s+jepsen\.util\s+-\s+(\d+)\s+:(invoke|ok|fail|info)\s+:(read|write|cas)\s+(.*)$/

/** Lines of other kinds are skipped. ':info' stays open; a failed compare-and-set answered false; other failures had no effect. */
export function parseRegister(text: string): Operation<RegisterInput, RegisterOutput>[] {
  const recorder = new HistoryRecorder<RegisterInput, RegisterOutput>()
  const open = new Map<string, number>()
  for (const line of text.split('\n')) {
    const match = REGISTER_LINE.exec(line.trim())
    if (match === null) continue
    const [process, type, op, argument] = [match[1] ?? '', match[2], match[3], match[4] ?? '']
    if (type === 'invoke') {
      open.set(process, recorder.call(process, 'register', registerInput(op, argument)))
      continue
    }
    const call = must(open.get(process), `a return without a call: ${line}`)
    if (type === 'ok')
      recorder.return(call, op === 'read' ? { value: argument === 'nil' ? null : Number(argument) } : op === 'cas' ? { applied: true } : {})
    else if (type === 'fail' && op === 'cas') recorder.return(call, { applied: false })
    else if (type === 'fail') recorder.fail(call)
  }
  return recorder.operations()
}

function registerInput(op: string | undefined, argument: string): RegisterInput {
  if (op === 'read') return { op }
  if (op === 'write') return { op, value: Number(argument) }
  const [, from, to] = must(/^\[(\d+) (\d+)\]$/.exec(argument), `not [from to]: ${argument}`)
  return { op: 'cas', from: Number(from), to: Number(to) }
}
