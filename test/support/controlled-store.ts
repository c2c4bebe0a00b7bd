/**
 * A store in memory, whose every call the test can watch, hold, fail, or let take place and then lose its answer.
 * `view()` gives another way to the same objects, as another machine has it.
 */
import { randomUUID } from 'node:crypto'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  type CallLimits,
  Log,
  MylibsqlError,
  Snapshot,
  type Store,
  type StoredLog,
  type StoredSnapshot,
} from 'mylibsql'
import { checkReplaces } from '../../dist/main/stores/log-positions.js'
import { decodeLogHeader, encodeLogHeader } from '../../src/protocol/log-format.js'
import { folderOfFile } from './folder.js'

const folder = folderOfFile()

interface StoredBytes {
  readonly bytes: Uint8Array
  readonly storedAt: Date
}

/** What all views of one store share. */
interface Contents {
  readonly holders: string[]
  readonly logs: Map<number, StoredBytes>
  /** By last frame; -1: of the blank database. */
  readonly snapshots: Map<number, StoredBytes>
  /** Called when a log has come. */
  readonly followers: Set<() => void>
}

export type StoreMethod = Exclude<keyof Store, 'url' | 'follow' | 'close'>

export interface StoreCall {
  readonly method: StoreMethod
  readonly signal: AbortSignal | undefined
  /** Of the log that is appended. */
  readonly log?: Log
}

/** Before a call takes place, and after: what it throws is what the caller gets; while it waits, so does the caller. */
export interface StoreHooks {
  before?: (call: StoreCall) => Promise<void> | void
  after?: (call: StoreCall) => Promise<void> | void
  /** What a listing shows of what there is. */
  listed?: <T extends StoredLog | StoredSnapshot>(objects: T[]) => T[]
}

export class ControlledStore implements Store {
  readonly url: string
  readonly hooks: StoreHooks = {}
  /** Names of the calls that have begun. */
  readonly calls: StoreMethod[] = []
  readonly #contents: Contents
  readonly #closed = new AbortController()

  constructor(name: string = randomUUID(), contents?: Contents) {
    this.url = `memory:${name}`
    this.#contents = contents ?? {
      holders: [],
      logs: new Map(),
      snapshots: new Map(),
      followers: new Set(),
    }
  }

  /** Another connection to the same store, without hooks. */
  view(): ControlledStore {
    return new ControlledStore(this.url.slice('memory:'.length), this.#contents)
  }

  /** Who has claimed epochs 1, 2, ... */
  get holders(): readonly string[] {
    return this.#contents.holders
  }

  get logCount(): number {
    return this.#contents.logs.size
  }

  claimEpoch(holder: string, limits: CallLimits = {}): Promise<number> {
    return this.#call('claimEpoch', limits, () => this.#contents.holders.push(holder))
  }

  currentEpoch(limits: CallLimits = {}): Promise<number> {
    return this.#call('currentEpoch', limits, () => this.#contents.holders.length)
  }

  append(log: Log, epoch: number, limits: CallLimits = {}): Promise<StoredLog> {
    const store = async () => {
      const bytes = withEpoch(await log.bytes(), epoch)
      const there = this.#contents.logs.get(log.startFrameNo)
      if (there === undefined) return this.#putLog(bytes)
      if (Buffer.compare(there.bytes, bytes) === 0) return describeLog(log.startFrameNo, there)
      const message = `Another log begins at frame ${log.startFrameNo} in ${this.url}`
      throw new MylibsqlError('ERR_FENCED', message, { frameNo: log.startFrameNo })
    }
    return this.#call('append', limits, store, log)
  }

  logs({ from = 0, ...limits }: CallLimits & { readonly from?: number } = {}): Promise<StoredLog[]> {
    return this.#call('logs', limits, () => this.#listed(this.#logsFrom(from)))
  }

  readLog(stored: StoredLog, limits: CallLimits = {}): Promise<Log> {
    return this.#call('readLog', limits, () => {
      const there = this.#contents.logs.get(stored.startFrameNo)
      if (there === undefined) throw notFound(stored.id)
      return Log.from(there.bytes.slice())
    })
  }

  async *follow(from: number, { signal }: { readonly signal: AbortSignal }): AsyncIterable<StoredLog> {
    const { followers } = this.#contents
    const ended = AbortSignal.any([signal, this.#closed.signal])
    let come = Promise.resolve()
    let wake = () => {}
    const rearm = () => {
      come = new Promise((resolve) => {
        wake = resolve
      })
    }
    const awake = () => wake()
    rearm()
    followers.add(awake)
    ended.addEventListener('abort', awake)
    try {
      let next = from
      while (!ended.aborted) {
        rearm()
        for (const stored of this.#logsFrom(next)) {
          if (stored.startFrameNo < next) continue
          next = stored.startFrameNo + 1
          yield stored
          if (ended.aborted) return
        }
        await come
      }
    } finally {
      followers.delete(awake)
      ended.removeEventListener('abort', awake)
    }
  }

  putSnapshot(snapshot: Snapshot, limits: CallLimits = {}): Promise<StoredSnapshot> {
    return this.#call('putSnapshot', limits, async () => {
      const path = join(folder, `${randomUUID()}.db`)
      await snapshot.copyTo(path)
      const stored = { bytes: await readFile(path), storedAt: new Date() }
      await rm(path)
      const frameNo = snapshot.lastFrameNo ?? -1
      this.#contents.snapshots.set(frameNo, stored)
      return describeSnapshot(frameNo, stored)
    })
  }

  snapshots(limits: CallLimits = {}): Promise<StoredSnapshot[]> {
    return this.#call('snapshots', limits, () => {
      const entries = [...this.#contents.snapshots].sort(([left], [right]) => left - right)
      return this.#listed(entries.map(([frameNo, stored]) => describeSnapshot(frameNo, stored)))
    })
  }

  readSnapshot(
    stored: StoredSnapshot,
    { onProgress, ...limits }: CallLimits & { readonly onProgress?: (byteCount: number) => void } = {},
  ): Promise<Snapshot> {
    return this.#call('readSnapshot', limits, async () => {
      const there = this.#contents.snapshots.get(stored.lastFrameNo ?? -1)
      if (there === undefined) throw notFound(stored.id)
      const path = join(folder, `${randomUUID()}.db`)
      await writeFile(path, there.bytes)
      onProgress?.(there.bytes.byteLength)
      const { file } = await Snapshot.open(path)
      return Snapshot.fromFile(file, { temporary: true })
    })
  }

  replaceLog(log: Log, limits: CallLimits = {}): Promise<StoredLog> {
    return this.#call('replaceLog', limits, async () => {
      const { logs } = this.#contents
      for (;;) {
        const there = logs.get(log.startFrameNo)
        if (there === undefined) throw notFound(`log ${log.startFrameNo}`)
        const found = await Log.from(there.bytes.slice())
        const isMeant = await checkReplaces(log, found, `log ${log.startFrameNo}`)
        const bytes = await log.bytes()
        // Looking and replacing are one step: what has come in between is looked at too.
        if (logs.get(log.startFrameNo) !== there) continue
        return isMeant ? this.#putLog(bytes) : describeLog(log.startFrameNo, there)
      }
    })
  }

  remove(objects: readonly (StoredLog | StoredSnapshot)[], limits: CallLimits = {}): Promise<void> {
    return this.#call('remove', limits, () => {
      for (const object of objects) {
        if ('startFrameNo' in object) this.#removeLog(object)
        else this.#contents.snapshots.delete(object.lastFrameNo ?? -1)
      }
    })
  }

  /** Not another one that has taken its place. */
  #removeLog({ startFrameNo, byteLength, storedAt }: StoredLog): void {
    const there = this.#contents.logs.get(startFrameNo)
    if (there?.bytes.byteLength !== byteLength || there.storedAt.getTime() !== storedAt.getTime()) return
    this.#contents.logs.delete(startFrameNo)
  }

  async close(): Promise<void> {
    this.#closed.abort()
  }

  async #call<T>(
    method: StoreMethod,
    { signal }: CallLimits,
    run: () => Promise<T> | T,
    log?: Log,
  ): Promise<T> {
    if (this.#closed.signal.aborted) throw new MylibsqlError('ERR_CLOSED', `${this.url} is closed`)
    signal?.throwIfAborted()
    this.calls.push(method)
    const call = { method, signal, ...(log === undefined ? {} : { log }) }
    await this.hooks.before?.(call)
    const result = await run()
    await this.hooks.after?.(call)
    return result
  }

  #putLog(bytes: Uint8Array): StoredLog {
    const { startFrameNo } = decodeLogHeader(bytes, {}, bytes.byteLength)
    const stored = { bytes, storedAt: new Date() }
    this.#contents.logs.set(startFrameNo, stored)
    for (const wake of this.#contents.followers) wake()
    return describeLog(startFrameNo, stored)
  }

  #logsFrom(from: number): StoredLog[] {
    const all = [...this.#contents.logs].sort(([left], [right]) => left - right)
    const firstBehind = all.findIndex(([startFrameNo]) => startFrameNo >= from)
    const first = firstBehind === -1 ? all.length : firstBehind
    return all.slice(Math.max(0, first - 1)).map(([frameNo, log]) => describeLog(frameNo, log))
  }

  #listed<T extends StoredLog | StoredSnapshot>(objects: T[]): T[] {
    return this.hooks.listed?.(objects) ?? objects
  }
}

/** A failure as of a store that cannot be reached. */
export function storeError(message = 'the store is away'): MylibsqlError {
  return new MylibsqlError('ERR_STORE', message)
}

function describeLog(startFrameNo: number, { bytes, storedAt }: StoredBytes): StoredLog {
  return { id: `log ${startFrameNo}`, startFrameNo, byteLength: bytes.byteLength, storedAt }
}

function describeSnapshot(frameNo: number, { bytes, storedAt }: StoredBytes): StoredSnapshot {
  const lastFrameNo = frameNo === -1 ? undefined : frameNo
  return { id: `snapshot ${frameNo}`, lastFrameNo, byteLength: bytes.byteLength, storedAt }
}

function notFound(id: string): MylibsqlError {
  return new MylibsqlError('ERR_NOT_FOUND', `${id} is not there any more`)
}

function withEpoch(bytes: Uint8Array, epoch: number): Uint8Array {
  const header = decodeLogHeader(bytes, {}, bytes.byteLength)
  const stamped = bytes.slice()
  stamped.set(encodeLogHeader({ ...header, epoch }))
  return stamped
}
