/** The addon and databases for its tests, without src/worker/native.ts, which finds the addon from dist/. */
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import Database from 'better-sqlite3'
import { expect, onTestFinished } from 'vitest'
import type { FrameRun, NativeAddon, WalConnection } from '../../src/worker/native.js'

const require = createRequire(import.meta.url)
const packageRoot = fileURLToPath(new URL('../..', import.meta.url))
const locate = require('node-gyp-build') as { (root: string): NativeAddon; path(root: string): string }

export const native = locate(packageRoot)
const extensionPath = locate.path(packageRoot)

export interface Opened {
  readonly path: string
  readonly db: Database.Database
  readonly wal: WalConnection
}

export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'mylibsql-native-'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

export function openDatabase(path: string, { pageSize = 4096, guard = true, setup = '' } = {}): Opened {
  const db = new Database(path)
  onTestFinished(() => void db.close())
  db.pragma(`page_size = ${pageSize}`)
  if (setup !== '') db.exec(setup)
  db.pragma('journal_mode = WAL')
  db.pragma('synchronous = OFF')
  const wal = loadAddon(db, guard)
  return { path, db, wal }
}

export function loadAddon(db: Database.Database, guard = true): WalConnection {
  const load = db.loadExtension as (this: Database.Database, path: string, entryPoint: string) => unknown
  load.call(db, extensionPath, 'sqlite3_mylibsql_init')
  return native.attach({ guard })
}

/** Somebody else reads, until it is told to end: nothing newer is folded, and the WAL is not started over. */
export function beginReading({ path }: Pick<Opened, 'path'>): { end(): void } {
  const db = new Database(path, { readonly: true })
  onTestFinished(() => void db.close())
  db.exec('BEGIN; SELECT * FROM sqlite_schema')
  return { end: () => void db.close() }
}

/** A primary, and a replica that started as a copy of it. */
export class Pair {
  readonly primary: Opened
  readonly replica: Opened
  readonly pageSize: number
  nextFrameNo = 0
  checksum = 0n
  #shippedCount = 0
  #salts = ''

  constructor(directory: string, { pageSize = 4096, setup = '' } = {}) {
    this.pageSize = pageSize
    const path = join(directory, 'primary.db')
    const replicaPath = join(directory, 'replica.db')
    this.primary = openDatabase(path, { pageSize, setup })
    copyFileSync(path, replicaPath)
    this.replica = openDatabase(replicaPath, { pageSize })
  }

  /** The frames that were committed on the primary since the last call, as v3 records. */
  readFrames(): Uint8Array {
    const { frameCount, salt1, salt2 } = this.primary.wal.position()
    if (this.#salts !== `${salt1} ${salt2}`) this.#shippedCount = 0
    this.#salts = `${salt1} ${salt2}`
    const count = frameCount - this.#shippedCount
    const bytes = new Uint8Array(count * (24 + this.pageSize))
    const first = this.#shippedCount + 1
    this.checksum = this.primary.wal.readFrames(bytes, first, count, this.nextFrameNo, this.checksum)
    this.#shippedCount = frameCount
    this.nextFrameNo += count
    return bytes
  }

  /** The same, and the run that they are. */
  readRun(): { bytes: Uint8Array; run: FrameRun } {
    const { nextFrameNo, checksum } = this
    const bytes = this.readFrames()
    return { bytes, run: runOf(bytes, this.pageSize, nextFrameNo, checksum) }
  }

  /** Ships what was committed on the primary to the replica; returns how many frames. */
  ship(): number {
    const { bytes, run } = this.readRun()
    expect(this.replica.wal.inject({ bytes }, run, this.checksum)).toMatchObject({ badIndex: -1 })
    return run.frameCount
  }

  expectSame(): void {
    for (const { db, wal } of [this.primary, this.replica]) {
      expect(db.pragma('integrity_check', { simple: true })).toBe('ok')
      wal.foldSync('truncate')
    }
    expect(readFileSync(this.replica.path).equals(readFileSync(this.primary.path))).toBe(true)
  }
}

/** A run of version 3 records. */
export function runOf(
  bytes: Uint8Array,
  pageSize: number,
  startFrameNo: number,
  startChecksum: bigint,
): FrameRun {
  const frameCount = bytes.byteLength / (24 + pageSize)
  return { frameCount, pageSize, startFrameNo, version: 3, fileStartChecksum: startChecksum, startChecksum }
}

/** What it throws; fails when it throws nothing. */
export function thrownBy(action: () => unknown): Error & { code?: string; sqlite?: boolean; errno?: number } {
  try {
    action()
  } catch (error) {
    return error as Error
  }
  throw new Error('nothing was thrown')
}

/** A deterministic source of numbers from 0 to 1 (mulberry32). */
export function randomFrom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
