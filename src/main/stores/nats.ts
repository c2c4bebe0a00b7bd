// Also where a project names no types.
/// <reference types="node" preserve="true" />
/** What 'mylibsql/nats' gives: apart from 'mylibsql', for its packages are installed by those who want it. */
export type { NatsStoreOptions } from './nats-options.js'
export { NatsStore } from './nats-store.js'
