/**
 * How much of a file a small read from the disk brings into the page cache with it. Where all files fit into memory, a large piece around what is
 * asked for: a disk takes not much longer for it, and cold files are warm after one read of each piece, as mapped ones are. Where they do not, a piece
 * is gone again before the rest of it is asked for, and the disk does nothing but read what nobody wants: then only what is asked for.
 */
const pieceBytes = 256 * 1024
/** Of the memory that page cache may take, so much may be these files': other processes have theirs. */
const fittingShare = 0.25
const checkMs = 1000
/** What was brought in longer ago may have been given up since. */
const freshMs = 60_000
/** A read of what the page cache holds takes a tenth of it. */
const slowMs = 0.1
/** More pieces than that are not read at once. */
const buffersMax = 16

/** All files of one process. */
export class ReadAround {
  readonly #memoryBytes: () => number
  #fileBytes = 0
  #fits = false
  #checkedMs = Number.NEGATIVE_INFINITY
  readonly #free: Uint8Array[] = []
  #buffersInUse = 0
  readonly #waiting: ((buffer: Uint8Array) => void)[] = []

  /** `memoryBytes`: what the system could give to the page cache at most, at this moment. */
  constructor(memoryBytes: () => number) {
    this.#memoryBytes = memoryBytes
  }

  /** A file of so many bytes is read from now on, until `close`. */
  open(bytes: number): FileAround {
    this.#fileBytes += bytes
    return new FileAround(this, bytes)
  }

  close(file: FileAround): void {
    this.#fileBytes -= file.bytes
  }

  /** Whether all files fit into memory. */
  fits(nowMs: number): boolean {
    if (nowMs - this.#checkedMs >= checkMs) {
      this.#checkedMs = nowMs
      this.#fits = this.#fileBytes <= this.#memoryBytes() * fittingShare
    }
    return this.#fits
  }

  /** Calls `use` as soon as there is a buffer for a piece; it is its own until `giveBack`. */
  takeBuffer(use: (buffer: Uint8Array) => void): void {
    if (this.#buffersInUse === buffersMax) {
      this.#waiting.push(use)
      return
    }
    this.#buffersInUse++
    use(this.#free.pop() ?? new Uint8Array(pieceBytes))
  }

  giveBack(buffer: Uint8Array): void {
    const next = this.#waiting.shift()
    if (next !== undefined) {
      next(buffer)
      return
    }
    this.#buffersInUse--
    // All are kept: buffers that come and go are garbage of hundreds of KiB each, which the collector does not hurry to free.
    this.#free.push(buffer)
  }
}

/** One file, and which of its pieces were brought in lately. */
export class FileAround {
  readonly #all: ReadAround
  readonly bytes: number
  /** A bit for each piece: those whose reading was begun, and those of them that were read. */
  readonly #taken: Uint8Array
  readonly #brought: Uint8Array
  /** And those of them of which the last read was slow. */
  readonly #doubted: Uint8Array
  #sinceMs = Number.NEGATIVE_INFINITY

  constructor(all: ReadAround, bytes: number) {
    this.#all = all
    this.bytes = bytes
    this.#taken = new Uint8Array(Math.ceil(bytes / pieceBytes / 8))
    this.#brought = new Uint8Array(this.#taken.length)
    this.#doubted = new Uint8Array(this.#taken.length)
  }

  /** Whether [position, position + length) was brought in lately: a read of it takes no time. */
  holds(position: number, length: number): boolean {
    const last = Math.floor((position + length - 1) / pieceBytes)
    for (let piece = Math.floor(position / pieceBytes); piece <= last; piece++) if (!hasBit(this.#brought, piece)) return false
    return true
  }

  /** A read of what `holds` has told of took so long. Where two in a row are slow it was given up; one may have been interrupted. */
  took(position: number, ms: number): void {
    const piece = Math.floor(position / pieceBytes)
    const isSlow = ms >= slowMs
    const isDoubted = hasBit(this.#doubted, piece)
    if (isSlow && isDoubted) this.#set(piece, false, false)
    if (isSlow || isDoubted) setBit(this.#doubted, piece, isSlow && !isDoubted)
  }

  /** The piece that `takePiece` gave was read. */
  brought(start: number): void {
    this.#set(start / pieceBytes, true, true)
  }

  /**
   * Where the piece begins that is to be read, whole, for [position, position + length), followed by `brought`. Undefined: read nothing but what is asked for.
   */
  takePiece(position: number, length: number, nowMs: number): number | undefined {
    const piece = Math.floor(position / pieceBytes)
    if (position + length > Math.min(this.bytes, (piece + 1) * pieceBytes) || !this.#all.fits(nowMs)) return undefined
    if (nowMs - this.#sinceMs >= freshMs) {
      this.#sinceMs = nowMs
      this.#taken.fill(0)
      this.#brought.fill(0)
      this.#doubted.fill(0)
    }
    if (hasBit(this.#taken, piece)) return undefined
    this.#set(piece, true, false)
    return piece * pieceBytes
  }

  #set(piece: number, isTaken: boolean, isBrought: boolean): void {
    setBit(this.#taken, piece, isTaken)
    setBit(this.#brought, piece, isBrought)
  }
}

function hasBit(bits: Uint8Array, at: number): boolean {
  return ((bits[at >> 3] as number) & (1 << (at & 7))) !== 0
}

function setBit(bits: Uint8Array, at: number, isSet: boolean): void {
  const byte = bits[at >> 3] as number
  bits[at >> 3] = isSet ? byte | (1 << (at & 7)) : byte & ~(1 << (at & 7))
}
