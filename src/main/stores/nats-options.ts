import type { NodeConnectionOptions } from '@nats-io/transport-node'
import type { Compression } from '../../protocol/object-format.js'
import {
  checkBoolean,
  checkString,
  checkTimeoutMs,
  oneOf,
  optional,
  withDefault,
  wrong,
} from '../arguments.js'
import { checkCompression } from './compression.js'

/**
 * Options of `NatsStore.open`. Besides these, every option of the NATS client: `user` and `pass`, `token`, `authenticator`,
 * `tls`, `reconnectTimeWait` and so on. Unlike the client, a store goes on trying to reconnect until it is closed.
 */
export interface NatsStoreOptions extends Omit<NodeConnectionOptions, 'servers' | 'name' | 'timeout'> {
  /** `host:port` or `nats://host:port`, one or several of a cluster. Default: `localhost:4222`. */
  readonly servers?: string | readonly string[] | undefined
  /** Of the store: letters, digits, `-` and `_`, 32 at most. The stream has this name, the bucket `NAME-snapshots`. */
  readonly name: string
  /**
   * On how many servers of the cluster everything is kept: 1 or 3. Default: 1 when the store is made, and as it is when it is
   * there already; one that has another number is an error.
   */
  readonly replicas?: 1 | 3 | undefined
  /** Make the stream and the bucket when they are not there. Default: false. */
  readonly create?: boolean | undefined
  /** Of logs and snapshots that are stored from now on; what is there is read whatever it is. See FileStore. Default: 'none'. */
  readonly compression?: Compression | 'none' | undefined
  /** How long a call tries before it rejects with ERR_STORE, in milliseconds. Default: 10_000. */
  readonly timeoutMs?: number | undefined
}

export interface CheckedOptions {
  readonly servers: readonly string[]
  readonly name: string
  readonly replicas: 1 | 3 | undefined
  readonly create: boolean
  readonly compression: Compression | 'none'
  readonly timeoutMs: number
  /** What the client is told besides. */
  readonly connection: NodeConnectionOptions
}

const timeoutMsDefault = 10_000

/** Throws TypeError. What is not ours is for the client to check. */
export function checkNatsOptions(options: NatsStoreOptions): CheckedOptions {
  const method = 'NatsStore.open'
  if (typeof options !== 'object' || options === null)
    throw wrong(`The options of ${method}`, 'an object', options)
  const { servers, name, replicas, create, compression, timeoutMs, ...connection } = options
  const of = (option: string) => `Option "${option}" of ${method}`
  return {
    servers: checkServers(servers ?? 'localhost:4222', of('servers')),
    name: checkStoreName(name, of('name')),
    replicas: optional(oneOf(1, 3))(replicas, of('replicas')),
    create: withDefault(checkBoolean, false)(create, of('create')),
    compression: withDefault(checkCompression, 'none')(compression, of('compression')),
    timeoutMs: withDefault(checkTimeoutMs, timeoutMsDefault)(timeoutMs, of('timeoutMs')),
    connection,
  }
}

function checkServers(value: unknown, name: string): readonly string[] {
  const list = Array.isArray(value) ? value : [value]
  if (list.length === 0) throw wrong(name, 'at least one server', value)
  return list.map((server) => checkString(server, name))
}

function checkStoreName(value: unknown, name: string): string {
  if (typeof value !== 'string' || !/^[\w-]{1,32}$/.test(value)) {
    throw wrong(name, 'a name of letters, digits, "-" and "_", 32 at most', value)
  }
  return value
}
