/** The options of `mylibsql load`, checked: what is wrong with one is said in a sentence that names it. */
import { existsSync } from 'node:fs'
import * as zlib from 'node:zlib'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { type Compression, storeUrl } from './store-url.js'
import { UsageError } from './usage-error.js'

export const followersDefault = 2

/** Newer releases of Node have zstd. */
const compressions: Compression[] = [
  'none',
  'lz4',
  'deflate',
  'brotli',
  ...('createZstdCompress' in zlib ? ['zstd' as const] : []),
]

export interface LoadOptions {
  readonly seconds: number
  /** Seconds of them, the first ones, that latencies and lags leave out. */
  readonly warmUp: number
  /** Branches; each has 10 tellers and 100,000 accounts. */
  readonly scale: number
  readonly clients: number
  /** Transactions begun per second, all clients together. As many as they can when undefined. */
  readonly rate?: number
  readonly checkpointMs: number
  /** Read loops on each replica. */
  readonly readers: number
  readonly readPauseMs: number
  readonly dir?: string
  /** URL of the store that the primary archives to. */
  readonly store?: string
  /** Of what is stored there; undefined: the default. */
  readonly compression?: Compression
  /** Replicas that follow the store; undefined: the default. */
  readonly followers?: number
  readonly db?: string
  readonly script?: string
  readonly query?: string
  readonly json?: boolean
}

/** Adds the options of `load` to its command. */
export function addLoadOptions(command: Command): Command {
  const options = [
    option('--seconds <n>', 'how long the load runs', 10, number(0.1, 86_400)),
    option('--warm-up <n>', 'the first seconds of them: not in latencies and lags', 0, number(0, 86_400)),
    option(
      '--scale <n>',
      'size of the database: branches of 100,000 accounts (13 MB) each',
      1,
      integer(1, 10_000),
    ),
    option('--clients <n>', 'transactions in flight at a time', 64, integer(1, 100_000)),
    new Option(
      '--rate <n>',
      'transactions to begin per second (default: as many as the clients can)',
    ).argParser(number(0.1, 1_000_000)),
    option('--checkpoint-ms <n>', 'time from one checkpoint to the next', 100, integer(1, msMax)),
    option('--readers <n>', 'read loops on each replica', 1, integer(0, 64)),
    option('--read-pause-ms <n>', 'pause of a reader after each read', 5, integer(0, msMax)),
    new Option('--dir <folder>', 'keep snapshot and logs here (default: a temporary folder)'),
    new Option(
      '--store <url>',
      'archive to this store, and follow it, instead of log files: file:DIR, nats://HOST:PORT/NAME or s3://BUCKET/PREFIX',
    ).argParser(storeUrl),
    new Option('--compression <method>', 'of what is stored (with --store, default: none)').choices(
      compressions,
    ),
    new Option(
      '--followers <n>',
      `replicas that follow the store, a process each (with --store, default: ${followersDefault})`,
    ).argParser(integer(1, 100)),
    new Option('--db <file>', 'start from a copy of this SQLite database (needs --script)').argParser(file),
    new Option('--script <file>', 'SQL to run as one transaction, with \\set as in pgbench').argParser(file),
    new Option('--query <sql>', 'what the readers run (with --script)'),
    new Option('--json', 'print the results as one JSON object'),
  ]
  for (const each of options) command.addOption(each)
  return command
}

/** Checks what no option can say alone. Throws UsageError. */
export function checkTogether(options: LoadOptions): LoadOptions {
  if (options.warmUp >= options.seconds) {
    throw new UsageError(
      `--warm-up ${options.warmUp} leaves nothing to measure of --seconds ${options.seconds}, of which it is a part`,
    )
  }
  if (options.db !== undefined && options.script === undefined) {
    throw new UsageError(
      `--db ${options.db} needs --script: what transactions to run on a database of yours is not known`,
    )
  }
  if (options.query !== undefined && options.script === undefined) {
    throw new UsageError('--query needs --script: the built-in load has a query of its own, which it checks')
  }
  if (options.store === undefined) {
    if (options.followers !== undefined)
      throw new UsageError('--followers needs --store: what they follow is a store')
    if (options.compression !== undefined)
      throw new UsageError('--compression needs --store: log files are written as they are')
    return options
  }
  if (options.dir !== undefined) {
    throw new UsageError(
      '--dir and --store exclude each other: with a store, that is where everything is kept',
    )
  }
  return options
}

function option(flags: string, text: string, value: number, parse: (text: string) => number): Option {
  return new Option(flags, text).default(value).argParser(parse)
}

/** A day. */
const msMax = 86_400_000

function number(min: number, max: number): (text: string) => number {
  return parseNumber('a number', min, max, Number.isFinite)
}

function integer(min: number, max: number): (text: string) => number {
  return parseNumber('an integer', min, max, Number.isSafeInteger)
}

function parseNumber(what: string, min: number, max: number, isGood: (value: number) => boolean) {
  return (text: string): number => {
    const value = Number(text)
    if (text.trim() !== '' && isGood(value) && value >= min && value <= max) return value
    throw new InvalidArgumentError(`It must be ${what} from ${min} to ${max}.`)
  }
}

function file(path: string): string {
  if (existsSync(path)) return path
  throw new InvalidArgumentError('There is no such file.')
}
