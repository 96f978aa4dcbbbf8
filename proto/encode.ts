import protobuf from 'protobufjs/minimal.js'

/** The memory of a longer message is not kept. */
const keptBytes = 4 * 1024 * 1024

/**
 * Its buffer serves again: protobufjs begins each message with 128 bytes and doubles, so that a value of 4 KiB, nested as a log entry is, takes five
 * buffers; and the more buffers are made, however soon dropped, the sooner V8 collects its whole heap (docs/decisions/0039).
 */
let writer = protobuf.Writer.create()

/** The bytes are the caller's own. No encoding is under way meanwhile: what the generated code reads of a message calls nothing. */
export function encoded<T>(type: { encode(message: T, writer?: protobuf.Writer): protobuf.Writer }, message: NoInfer<T>): Uint8Array {
  let bytes: Uint8Array
  try {
    bytes = type.encode(message, writer.reset()).finish()
  } catch (error) {
    // Half a message is in it.
    writer = protobuf.Writer.create()
    throw error
  }
  if (bytes.length > keptBytes) writer = protobuf.Writer.create()
  return bytes
}
