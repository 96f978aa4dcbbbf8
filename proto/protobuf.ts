import protobuf from 'protobufjs/minimal.js'

/** Most messages fit without growing; a piece of a file makes the buffer that it needs, which then stays. */
const firstBytes = 64 * 1024
const keptBytes = 4 * 1024 * 1024

/**
 * A writer whose buffer serves again after `finish`. One of protobufjs starts with 128 bytes and doubles: a value of 4 KiB, nested as a log entry is,
 * takes five buffers to encode, and V8 collects the whole heap each 64 MiB of buffers, however soon they are dropped.
 */
class ReusedWriter extends protobuf.BufferWriter {
  static #idle: ReusedWriter | undefined

  /** One that nobody uses: two may be open at a time, where a message is encoded into a field of another. */
  static take(): protobuf.Writer {
    const writer = ReusedWriter.#idle ?? new ReusedWriter()
    ReusedWriter.#idle = undefined
    return writer
  }

  override finish(): ReturnType<protobuf.BufferWriter['finish']> {
    const bytes = super.finish()
    if (this.buf.length <= keptBytes) {
      this.pos = 0
      ReusedWriter.#idle = this
    }
    return bytes
  }
}

/**
 * Must be loaded before the generated code: with `Long` unset, 64-bit fields decode to numbers (exact up to 2^53, which revisions, indexes
 * and milliseconds stay below) instead of objects. `test/proto/protobuf.test.ts` fails should a new version of protobufjs ignore it.
 */
const util = protobuf.util as { Long?: unknown }
util.Long = undefined
protobuf.configure()
protobuf.Writer.initialBufferSize = firstBytes
protobuf.Writer.create = ReusedWriter.take
