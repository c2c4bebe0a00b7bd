// Also where a project names no types.
/// <reference types="node" preserve="true" />
/** What 'mylibsql/s3' gives: apart from 'mylibsql', for its packages are installed by those who want it. */
export type { S3StoreOptions } from './s3-options.js'
export { S3Store } from './s3-store.js'
