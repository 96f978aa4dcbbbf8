import { assert } from '../base/assert.ts'
import { pb } from '../proto/messages.ts'

/**
 * Entries of the controllers' log: one byte of version, one of kind, then the kind's message (`proto/controller-log.proto`). They hold
 * outcomes. A version or kind that is not known stops the replica (a newer leader speaks to an older follower); a message that cannot be
 * read is `broken`, which every replica sees alike.
 */
const version = 1

const Kind = { Formed: 1, Change: 2, Register: 3, Claim: 4, Controllers: 5 } as const

export type ControllerEntry =
  | { readonly kind: 'formed'; readonly formed: pb.v1.ClusterFormed.$Properties }
  | { readonly kind: 'change'; readonly change: pb.v1.ConfigChange.$Properties }
  | { readonly kind: 'register'; readonly registration: pb.v1.NodeRegistration.$Properties }
  | { readonly kind: 'claim'; readonly claim: pb.v1.ReplicaClaim.$Properties }
  | { readonly kind: 'controllers'; readonly controllers: pb.v1.ControllersChange.$Properties }

export type DecodedEntry = ControllerEntry | { readonly kind: 'broken' }

export function encodeEntry(entry: ControllerEntry): Uint8Array {
  switch (entry.kind) {
    case 'formed':
      return framed(Kind.Formed, pb.v1.ClusterFormed.encode(entry.formed).finish())
    case 'change':
      return framed(Kind.Change, pb.v1.ConfigChange.encode(entry.change).finish())
    case 'register':
      return framed(Kind.Register, pb.v1.NodeRegistration.encode(entry.registration).finish())
    case 'claim':
      return framed(Kind.Claim, pb.v1.ReplicaClaim.encode(entry.claim).finish())
    case 'controllers':
      return framed(Kind.Controllers, pb.v1.ControllersChange.encode(entry.controllers).finish())
  }
}

/** Throws AssertionError on an unknown version or kind. `bytes` are copied where they are kept. */
export function decodeEntry(bytes: Uint8Array): DecodedEntry {
  assert(bytes[0] === version, `controller entry of version ${bytes[0]}`)
  const kind = bytes[1]
  assert(kind !== undefined && kind >= Kind.Formed && kind <= Kind.Controllers, `controller entry of kind ${kind}`)
  const body = bytes.slice(2)
  try {
    if (kind === Kind.Formed) return { kind: 'formed', formed: pb.v1.ClusterFormed.decode(body) }
    if (kind === Kind.Change) return { kind: 'change', change: pb.v1.ConfigChange.decode(body) }
    if (kind === Kind.Register) return { kind: 'register', registration: pb.v1.NodeRegistration.decode(body) }
    if (kind === Kind.Controllers) return { kind: 'controllers', controllers: pb.v1.ControllersChange.decode(body) }
    return { kind: 'claim', claim: pb.v1.ReplicaClaim.decode(body) }
  } catch {
    return { kind: 'broken' }
  }
}

function framed(kind: number, message: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(2 + message.length)
  bytes[0] = version
  bytes[1] = kind
  bytes.set(message, 2)
  return bytes
}
