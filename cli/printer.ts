import { once } from 'node:events'
import type { Output } from './world.ts'

/** Lines for people, one after the other, however many; with `--json` none, and what is collected is printed at the end by who made it. */
export class Printer {
  readonly json: boolean
  readonly #output: Output

  constructor(output: Output, json: boolean) {
    this.#output = output
    this.json = json
  }

  async line(text: () => string): Promise<void> {
    if (this.json) return
    if (!this.#output.write(`${text()}\n`)) await once(this.#output, 'drain')
  }
}

/** Bytes in quotes: printable ASCII as it is, all else as \xNN. */
export function quoted(bytes: Uint8Array): string {
  let text = '"'
  for (const byte of bytes) {
    if (byte === 0x22 || byte === 0x5c) text += `\\${String.fromCharCode(byte)}`
    else if (byte >= 0x20 && byte < 0x7f) text += String.fromCharCode(byte)
    else text += `\\x${byte.toString(16).padStart(2, '0')}`
  }
  return `${text}"`
}
