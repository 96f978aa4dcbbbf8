import { type DestinationStream, destination, pino } from 'pino'
import type { Logger } from './logger.ts'

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent'

/**
 * pino's JSON lines on stderr (stdout belongs to what a command prints). Written synchronously, so that the last words before an exit are
 * not lost. `fields` are in every line; `target` is for tests.
 */
export function nodeLogger(level: LogLevel, fields: object = {}, target: DestinationStream = destination({ fd: 2, sync: true })): Logger {
  return pino({ level, base: { ...fields }, timestamp: () => `,"time":"${new Date().toISOString()}"` }, target)
}
