import { S3Client, type S3ClientConfig } from '@aws-sdk/client-s3'
import type { Compression } from '../../protocol/object-format.js'
import {
  checkBoolean,
  checkInstance,
  checkPositiveInteger,
  checkString,
  checkTimeoutMs,
  optional,
  withDefault,
  wrong,
} from '../arguments.js'
import { checkCompression } from './compression.js'

/**
 * Options of `S3Store.open`. Besides these, every option of the SDK's S3Client: `region`, `endpoint`, `credentials`,
 * `forcePathStyle` and so on. What is not given comes from where the SDK looks for it: the usual environment variables,
 * the profile, the role of the machine.
 */
export interface S3StoreOptions extends S3ClientConfig {
  readonly bucket: string
  /** Before the key of every object: `app/history`. Letters, digits and `! - _ . * ' ( ) /`. Default: none. */
  readonly prefix?: string | undefined
  /** A client that is there already; it is not destroyed with the store. Then no options of the client go with it. */
  readonly client?: S3Client | undefined
  /** Make the bucket, and the store, when they are not there. Without it the first write makes the store. Default: false. */
  readonly create?: boolean | undefined
  /** Of logs and snapshots that are stored from now on; what is there is read whatever it is. Default: 'none'. */
  readonly compression?: Compression | 'none' | undefined
  /** How long a call tries before it rejects with ERR_STORE, in milliseconds. Default: 15_000. */
  readonly timeoutMs?: number | undefined
  /** How often `follow` looks for new logs, in milliseconds: each time is one request. Default: 500. */
  readonly pollMs?: number | undefined
}

export interface CheckedOptions {
  readonly bucket: string
  /** Ends with a slash unless it is empty. */
  readonly prefix: string
  readonly client: S3Client
  readonly isOwnClient: boolean
  readonly create: boolean
  readonly compression: Compression | 'none'
  readonly timeoutMs: number
  readonly pollMs: number
}

const timeoutMsDefault = 15_000
const pollMsDefault = 500
/** A key has 1024 bytes at most. */
const prefixBytesMax = 900

/** Throws TypeError. What is the client's is for the client to check. */
export function checkS3Options(options: S3StoreOptions): CheckedOptions {
  const method = 'S3Store.open'
  if (typeof options !== 'object' || options === null)
    throw wrong(`The options of ${method}`, 'an object', options)
  const { bucket, prefix, client, create, compression, timeoutMs, pollMs, ...config } = options
  const of = (option: string) => `Option "${option}" of ${method}`
  const checked = {
    bucket: checkBucket(bucket, of('bucket')),
    prefix: withDefault(checkPrefix, '')(prefix, of('prefix')),
    create: withDefault(checkBoolean, false)(create, of('create')),
    compression: withDefault(checkCompression, 'none')(compression, of('compression')),
    timeoutMs: withDefault(checkTimeoutMs, timeoutMsDefault)(timeoutMs, of('timeoutMs')),
    pollMs: withDefault(checkPositiveInteger, pollMsDefault)(pollMs, of('pollMs')),
  }
  const given = optional((value, name) => checkInstance(value, S3Client, name))(client, of('client'))
  const [extra] = Object.keys(config)
  if (given !== undefined && extra !== undefined) {
    throw new TypeError(`${of(extra)} is the client's, which is given: set it there`)
  }
  return {
    ...checked,
    client: given ?? new S3Client(clientConfig(config, checked.timeoutMs)),
    isOwnClient: given === undefined,
  }
}

function clientConfig(config: S3ClientConfig, timeoutMs: number): S3ClientConfig {
  const isElsewhere = config.endpoint !== undefined
  const hasRegion = process.env.AWS_REGION !== undefined || process.env.AWS_DEFAULT_REGION !== undefined
  return {
    // Other services than Amazon's know neither regions nor a host name for each bucket.
    ...(isElsewhere ? { forcePathStyle: true } : {}),
    ...(isElsewhere && !hasRegion ? { region: 'us-east-1' } : {}),
    // Many do not take checksums behind the body either. Signatures cover what is sent, and frames have their own checksums.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    requestHandler: { connectionTimeout: timeoutMs, socketTimeout: timeoutMs },
    ...config,
  }
}

function checkBucket(value: unknown, name: string): string {
  if (typeof value !== 'string' || !/^[^/\s]{3,}$/.test(value))
    throw wrong(name, 'the name of a bucket', value)
  return value
}

function checkPrefix(value: unknown, name: string): string {
  const prefix = checkString(value, name).replace(/^\/+|\/+$/g, '')
  if (prefix === '') return ''
  const isPlain = /^[\w!.*'()-]+(\/[\w!.*'()-]+)*$/.test(prefix) && !/(^|\/)\.\.?(\/|$)/.test(prefix)
  if (!isPlain || prefix.length > prefixBytesMax) {
    throw wrong(name, `names of letters, digits and ! - _ . * ' ( ), with a slash between them`, value)
  }
  return `${prefix}/`
}
