/** Limits that hold everywhere (bytes, counts, milliseconds). Part of the contract. */
export const limits = {
  keyBytesMax: 4096,
  valueBytesMax: 4 * 1024 * 1024,
  batchOperationsMax: 1000,
  batchBytesMax: 8 * 1024 * 1024,
  /** What an encoded WriteBatch may hold beside: keys and headers around values of the full size. */
  batchEnvelopeBytes: 64 * 1024,
  /**
   * Commands of one WriteBatch that need the whole present value (append, expire, compare-and-set by value): each may bring 4 MiB into memory
   * that are not in the request.
   */
  batchWholeReadsMax: 32,
  /** Values in the reply to one request; the rest is refused as OVERLOADED. Well under the limit of a message. */
  replyValueBytesMax: 8 * 1024 * 1024,
  messageBytesMax: 16 * 1024 * 1024,
  /** Longest time to live: beyond it a time would not be exact. */
  ttlMsMax: 2 ** 50,
  /** A write older than this is neither sent nor proposed. */
  writeAgeMsMax: 600_000,
  /** A session ends after so much group time without a write. */
  sessionMs: 3_600_000,
  /** Numbers beyond the lowest outstanding one that a session takes. */
  sessionWindow: 1024,
  /** Bytes of a stored reply. */
  storedReplyBytesMax: 1024,
  clientIdBytes: 16,
  deadlineMsDefault: 5000,
  /** How old the answer to a stale read may be, unless it says otherwise, and at most. */
  maxStalenessMsDefault: 10_000,
  maxStalenessMsMax: 3_600_000,
  scanEntriesDefault: 1000,
  scanPageBytes: 1024 * 1024,
  shardCountMin: 16,
  shardCountMax: 16_384,
  shardCountDefault: 256,
  groupNameMax: 64,
} as const

/** Protocol version of the first handshake: processes of different versions refuse each other. */
export const protocolVersion = 1
