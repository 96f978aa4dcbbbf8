import { readU32 } from '../../../base/bytes.ts'
import type { BlockKind } from '../../../base/errors.ts'
import { framedLength, recordHeaderBytes } from '../../../base/framed-record.ts'
import { blockTrailerBytes, decodeFooter, type FooterHandle, footerBytes } from '../../../lsm/table-format.ts'

/** A part of a file that is read, and checked, by itself. */
export interface Region {
  /** Such as 'index block of a table'. */
  readonly kind: string
  readonly from: number
  readonly to: number
  /** What damage in it is told of; undefined: not in a table. */
  readonly block?: BlockKind
}

/** All regions of a file, after docs/formats-lsm.md. */
export function regionsOf(path: string, bytes: Uint8Array): Region[] {
  if (path.endsWith('.sst')) return tableRegions(path, bytes)
  if (path.endsWith('.log'))
    return recordRegions(bytes, (payload) => ['start', 'batches', 'end'][(payload[0] as number) - 1] ?? '?', 'a log')
  if (/MANIFEST-\d+$/.test(path)) return recordRegions(bytes, (_payload, offset) => (offset === 0 ? 'whole state' : 'edit'), 'a manifest')
  return [{ kind: path.slice(path.lastIndexOf('/') + 1), from: 0, to: bytes.length }]
}

function tableRegions(path: string, bytes: Uint8Array): Region[] {
  const offset = bytes.length - footerBytes
  const { filter, index, properties } = decodeFooter(bytes.subarray(offset), path, offset)
  const region = (handle: FooterHandle) => ({
    kind: `${handle.block} block of a table`,
    from: handle.offset,
    to: handle.offset + handle.length + blockTrailerBytes,
    block: handle.block,
  })
  return [
    { kind: 'data blocks of a table', from: 0, to: filter.offset, block: 'data' },
    region(filter),
    region(index),
    region(properties),
    { kind: 'footer of a table', from: offset, to: bytes.length, block: 'footer' },
  ]
}

function recordRegions(bytes: Uint8Array, kindOf: (payload: Uint8Array, offset: number) => string, file: string): Region[] {
  const regions: Region[] = []
  for (let offset = 0; offset < bytes.length; ) {
    const length = readU32(bytes, offset + 8)
    const start = offset + recordHeaderBytes
    const kind = length === 0 ? 'mark' : kindOf(bytes.subarray(start, start + length), offset)
    regions.push({ kind: `record '${kind}' of ${file}`, from: offset, to: offset + framedLength(length) })
    offset += framedLength(length)
  }
  return regions
}
