import type { ListenAddress } from '../base/transport.ts'
import { usageError } from './exit-code.ts'

/** HOST:PORT, [IPv6]:PORT, NAME=HOST:PORT and lists of them, as the flags take them. Everything malformed is wrong usage. */

const hostPattern = /^(?:[a-zA-Z0-9](?:[a-zA-Z0-9._-]{0,252}[a-zA-Z0-9])?|\[[0-9a-fA-F:.]+(?:%[a-zA-Z0-9]+)?\])$/
const namePattern = /^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$/

/** Port 0 (a free one) only makes sense where one listens. */
export function parseAddress(text: string, allowPortZero = false): string {
  const colon = text.lastIndexOf(':')
  const host = text.slice(0, Math.max(colon, 0))
  const port = text.slice(colon + 1)
  if (colon < 1 || !hostPattern.test(host) || !/^\d{1,5}$/.test(port)) {
    throw usageError(`'${text}' is no address: give HOST:PORT, for example 127.0.0.1:7400`)
  }
  if (Number(port) > 65_535 || (Number(port) === 0 && !allowPortZero))
    throw usageError(`'${text}' has no usable port: give one from 1 to 65535`)
  return text
}

export function parseAddresses(text: string): string[] {
  return text.split(',').map((part) => parseAddress(part.trim()))
}

/** [NAME=]HOST:PORT. */
export function parseListenAddress(text: string, allowPortZero: boolean): ListenAddress {
  const equals = text.indexOf('=')
  if (equals < 0) return { name: 'default', address: parseAddress(text, allowPortZero) }
  return { name: parseName(text.slice(0, equals), 'listener'), address: parseAddress(text.slice(equals + 1), allowPortZero) }
}

/** ID=HOST:PORT,… */
export function parseMembers(text: string): { id: string; address: string }[] {
  const members = text.split(',').map((part) => {
    const equals = part.indexOf('=')
    if (equals < 1) throw usageError(`'${part}' is no member: give ID=HOST:PORT, for example n1=127.0.0.1:7410`)
    return { id: parseName(part.slice(0, equals).trim(), 'id'), address: parseAddress(part.slice(equals + 1).trim()) }
  })
  const ids = new Set(members.map((member) => member.id))
  if (ids.size < members.length) throw usageError(`'${text}' names an id twice`)
  return members
}

export interface MemberAddress {
  /** Empty: given by its address alone. */
  readonly id: string
  /** HOST:PORT; empty: given by its id alone. */
  readonly address: string
}

/** ID, ID=HOST:PORT or HOST:PORT. */
export function parseMember(text: string): MemberAddress {
  const equals = text.indexOf('=')
  if (equals >= 0) return { id: parseName(text.slice(0, equals), 'id'), address: parseAddress(text.slice(equals + 1)) }
  return text.includes(':') ? { id: '', address: parseAddress(text) } : { id: parseName(text, 'id'), address: '' }
}

/** Ids of nodes, names of groups and listeners. */
export function parseName(text: string, what: string): string {
  if (!namePattern.test(text)) throw usageError(`'${text}' is no ${what}: 1 to 64 characters of a-z, A-Z, 0-9, '-', '_' and '.'`)
  return text
}
