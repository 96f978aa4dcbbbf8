import { Duplex } from 'node:stream'
import type { Server, ServerDuplexStream, ServiceDefinition, UntypedServiceImplementation } from '@grpc/grpc-js'
import { asBuffer, passBytes } from './grpc-options.ts'
import { encodeStatus } from './grpc-status.ts'
import { TransportError } from './transport.ts'

/** 'ServerReflectionInfo' of each version of the protocol. */
const paths = ['v1', 'v1alpha'].map((version) => `/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`)

/** A method of `@grpc/reflection` with its codec. */
interface Reflector {
  readonly decode: (bytes: Buffer) => unknown
  readonly encode: (message: unknown) => Buffer
  readonly serve: (call: ServerDuplexStream<unknown, unknown>) => void
}

/**
 * Server reflection. Its package compiles the descriptors of all messages as soon as it is made, which would be a third of a server's
 * start. Hardly anybody asks: so it is loaded by the first who does.
 */
export class GrpcReflection {
  /** The `.proto` files as protobufjs writes them in JSON. */
  readonly #descriptor: object
  /** The services that are told of. */
  readonly #services: string[]
  #reflectors: Promise<ReadonlyMap<string, Reflector>> | undefined

  constructor(descriptor: object, services: string[]) {
    this.#descriptor = descriptor
    this.#services = services
  }

  addToServer(server: Server): void {
    for (const path of paths) {
      const handler = (call: ServerDuplexStream<Buffer, Buffer>) => void this.#serve(path, call)
      server.register(path, handler, passBytes, passBytes, 'bidi')
    }
  }

  /** What comes while it is loaded waits in the call: it flows once somebody listens to its 'data'. */
  async #serve(path: string, call: ServerDuplexStream<Buffer, Buffer>): Promise<void> {
    try {
      this.#reflectors ??= loadReflectors(this.#descriptor, this.#services)
      const reflector = (await this.#reflectors).get(path)
      if (reflector === undefined) throw new TransportError('UNIMPLEMENTED', `${path} is not known`)
      reflector.serve(decodedCall(call, reflector))
    } catch (error) {
      call.emit('error', encodeStatus(error instanceof TransportError ? error : new TransportError('INTERNAL', String(error))))
    }
  }
}

async function loadReflectors(descriptor: object, services: string[]): Promise<ReadonlyMap<string, Reflector>> {
  const { fromJSON } = await import('@grpc/proto-loader')
  const { ReflectionService } = await import('@grpc/reflection')
  const reflectors = new Map<string, Reflector>()
  // It only knows how to be added to a server: this one keeps what is added.
  const keeper = {
    addService(definition: ServiceDefinition, implementation: UntypedServiceImplementation) {
      for (const [name, { path, requestDeserialize, responseSerialize }] of Object.entries(definition)) {
        const serve = implementation[name] as Reflector['serve']
        reflectors.set(path, { decode: requestDeserialize, encode: responseSerialize, serve })
      }
    },
  }
  new ReflectionService(fromJSON(descriptor, { keepCase: true }), { services }).addToServer(keeper as Server)
  return reflectors
}

/** The call as the package takes it: a stream of messages in place of their bytes. */
function decodedCall(call: ServerDuplexStream<Buffer, Buffer>, { decode, encode }: Reflector): ServerDuplexStream<unknown, unknown> {
  const messages = new Duplex({
    objectMode: true,
    read() {},
    write(message: unknown, _, done) {
      call.write(asBuffer(encode(message)))
      done()
    },
    final(done) {
      call.end()
      done()
    },
  })
  call.on('data', (bytes: Buffer) => {
    try {
      messages.push(decode(bytes))
    } catch {
      call.emit('error', encodeStatus(new TransportError('INVALID_ARGUMENT', 'the request is no such message')))
    }
  })
  call.on('end', () => messages.push(null))
  return messages as unknown as ServerDuplexStream<unknown, unknown>
}
