/** Messages that a stranger may send: from the `.proto` files alone, every field missing, empty, at its limits or random. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import protobuf from 'protobufjs'
import type { SeededRandom } from '../../base/random.ts'
import { root } from './up.ts'

const types = protobuf.Root.fromJSON(JSON.parse(readFileSync(join(root, 'dist/proto/gen/descriptor.json'), 'utf8')) as protobuf.INamespace)

export interface PublicMethod {
  /** '/ostraka.v1.KV/Execute'. */
  readonly path: string
  readonly service: string
  readonly streaming: boolean
  readonly request: protobuf.Type
}

/** Every method of every service. */
export function publicMethods(): PublicMethod[] {
  const namespace = types.lookup('ostraka.v1')
  if (!(namespace instanceof protobuf.Namespace)) throw new Error('the descriptor holds no ostraka.v1')
  const services = namespace.nestedArray.filter((nested) => nested instanceof protobuf.Service)
  return services.flatMap((service) =>
    service.methodsArray.map((method) => ({
      path: `/ostraka.v1.${service.name}/${method.name}`,
      service: service.name,
      streaming: method.requestStream === true,
      request: types.lookupType(`ostraka.v1.${method.requestType}`),
    })),
  )
}

/** An encoded message of `type` with random fields, none of which names anything that is there. */
export function absurdMessage(type: protobuf.Type, random: SeededRandom): Uint8Array {
  return type.encode(type.create(absurdFields(type, random, 0))).finish()
}

export function randomBytes(random: SeededRandom, length: number): Uint8Array {
  return Uint8Array.from({ length }, () => random.below(256))
}

function absurdFields(type: protobuf.Type, random: SeededRandom, depth: number): Record<string, unknown> {
  const fields: Record<string, unknown> = {}
  for (const field of type.fieldsArray) {
    field.resolve()
    if (random.below(4) === 0 || depth > 4) continue
    fields[field.name] = field.repeated
      ? Array.from({ length: random.below(4) }, () => absurdValue(field, random, depth))
      : absurdValue(field, random, depth)
  }
  return fields
}

function absurdValue(field: protobuf.Field, random: SeededRandom, depth: number): unknown {
  if (field.resolvedType instanceof protobuf.Type) return absurdFields(field.resolvedType, random, depth + 1)
  const choose = <T>(...values: T[]): T | undefined => values[random.below(values.length)]
  switch (field.type) {
    case 'string':
      return choose('', 'no such name', '\0', '../../etc', 'é'.repeat(3000), '127.0.0.1:99999', 'x'.repeat(65), '-')
    case 'bytes':
      return choose(new Uint8Array(0), randomBytes(random, 1), randomBytes(random, 16), randomBytes(random, 5000), new Uint8Array(200_000))
    case 'bool':
      return random.below(2) === 1
    case 'double':
      return choose(Number.NaN, Number.POSITIVE_INFINITY, -1, 1e308, 5e-324)
    case 'uint64':
      return choose(0, 1, 2 ** 53, 2 ** 63, 1.8e19)
    default:
      return choose(0, 1, 16, 65_536, 2 ** 31 - 1)
  }
}
