// The order counts: the generated code looks at protobufjs's settings when it is loaded.
import './protobuf.ts'

// biome-ignore lint/performance/noBarrelFile: the one way to the generated code
export { ostraka as pb } from './gen/messages.js'
