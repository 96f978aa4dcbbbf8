/** The end-to-end tests' way to `ostraka up`. */
export { bin, type CommandResult, freeBasePort, ostraka, ostrakaHere, type ReadyLine, root, Up } from '../../testing/up.ts'
