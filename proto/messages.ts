// The order counts: the generated code looks at protobufjs's settings when it is loaded.
import './protobuf.ts'

export { ostraka as pb } from './gen/messages.js'
