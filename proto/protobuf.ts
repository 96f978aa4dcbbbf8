import protobuf from 'protobufjs/minimal.js'

/**
 * Must be loaded before the generated code: with `Long` unset, 64-bit fields decode to numbers (exact up to 2^53, which revisions, indexes
 * and milliseconds stay below) instead of objects. `test/proto/protobuf.test.ts` fails should a new version of protobufjs ignore it.
 */
const util = protobuf.util as { Long?: unknown }
util.Long = undefined
protobuf.configure()
