/** A store in memory, for what is hard to have happen in a real one: objects can be damaged, lost and held back. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Log, MylibsqlError, Snapshot } from 'mylibsql'
import { decodeLogHeader, encodeLogHeader } from '../../src/protocol/log-format.js'
import { temporaryFolder } from './folder.js'

export interface MemoryObject {
  readonly id: string
  readonly byteLength: number
  readonly storedAt: Date
  bytes: Uint8Array
}
export interface MemoryLog extends MemoryObject {
  readonly startFrameNo: number
}
export interface MemorySnapshot extends MemoryObject {
  readonly lastFrameNo: number | undefined
}

type Call = 'currentEpoch' | 'logs' | 'readLog' | 'snapshots' | 'readSnapshot' | 'follow' | 'append'

interface Limits {
  readonly signal?: AbortSignal | undefined
}

/** What all views of one store share. */
interface Contents {
  readonly logObjects: Map<number, MemoryLog>
  readonly snapshotObjects: Map<number, MemorySnapshot>
  readonly changed: Set<() => void>
  epoch: number
}

export class MemoryStore {
  readonly url = 'memory:test'
  readonly logObjects: Contents['logObjects']
  readonly snapshotObjects: Contents['snapshotObjects']
  /** Called before each call is served: throws, or waits. */
  before: (call: Call, object?: MemoryObject) => Promise<void> | void = () => {}
  readonly calls: Call[] = []
  readonly #folder = temporaryFolder()
  #readCount = 0
  readonly #contents: Contents
  readonly #changed: Contents['changed']

  constructor(
    contents: Contents = { logObjects: new Map(), snapshotObjects: new Map(), changed: new Set(), epoch: 0 },
  ) {
    this.#contents = contents
    this.#changed = contents.changed
    this.logObjects = contents.logObjects
    this.snapshotObjects = contents.snapshotObjects
  }

  /** Another connection to the same store, with a `before` of its own. */
  view(): MemoryStore {
    return new MemoryStore(this.#contents)
  }

  get epoch(): number {
    return this.#contents.epoch
  }

  async claimEpoch(): Promise<number> {
    this.#contents.epoch += 1
    return this.epoch
  }

  async currentEpoch(): Promise<number> {
    await this.#serve('currentEpoch')
    return this.epoch
  }

  async append(log: Log, epoch: number): Promise<MemoryLog> {
    await this.#serve('append')
    const { startFrameNo } = log
    const bytes = stamped(await log.bytes(), epoch)
    const there = this.logObjects.get(startFrameNo)
    if (there !== undefined && Buffer.compare(there.bytes, bytes) === 0) return there
    if (there !== undefined) throw new MylibsqlError('ERR_FENCED', `${there.id} is another log`)
    return this.put(bytes)
  }

  /** A log as it is, whatever is there. */
  put(bytes: Uint8Array, startFrameNo = decodeLogHeader(bytes, {}, bytes.length).startFrameNo): MemoryLog {
    const object = { ...this.#object(`logs/${String(startFrameNo).padStart(16, '0')}`, bytes), startFrameNo }
    this.logObjects.set(startFrameNo, object)
    for (const wake of this.#changed) wake()
    return object
  }

  async logs({ from = 0 }: Limits & { readonly from?: number } = {}): Promise<MemoryLog[]> {
    await this.#serve('logs')
    const all = [...this.logObjects.values()].sort((a, b) => a.startFrameNo - b.startFrameNo)
    const before = all.filter(({ startFrameNo }) => startFrameNo < from)
    return [...before.slice(-1), ...all.filter(({ startFrameNo }) => startFrameNo >= from)]
  }

  async readLog(stored: { readonly id: string }, { signal }: Limits = {}): Promise<Log> {
    const object = [...this.logObjects.values()].find(({ id }) => id === stored.id)
    await this.#serve('readLog', object)
    signal?.throwIfAborted()
    if (object === undefined || this.logObjects.get(object.startFrameNo) !== object) throw gone(stored.id)
    return Log.from(object.bytes.slice()).catch((error) => {
      throw inObject(stored.id, error)
    })
  }

  async *follow(
    from: number,
    { signal }: { readonly signal: AbortSignal },
  ): AsyncIterableIterator<MemoryLog> {
    let next = from
    while (!signal.aborted) {
      await this.#serve('follow')
      const changed = new Promise<void>((resolve) => {
        const wake = () => {
          this.#changed.delete(wake)
          signal.removeEventListener('abort', wake)
          resolve()
        }
        this.#changed.add(wake)
        signal.addEventListener('abort', wake)
      })
      for (const log of await this.logs({ from: next })) {
        if (log.startFrameNo < next) continue
        next = log.startFrameNo + 1
        yield log
      }
      await changed
    }
  }

  /** Follows ask again: after `before` has come to fail them. */
  wake(): void {
    for (const wake of this.#changed) wake()
  }

  async putSnapshot(snapshot: Snapshot): Promise<MemorySnapshot> {
    const frameNo = snapshot.lastFrameNo ?? -1
    const bytes = await readFile(snapshot.path)
    const object = { ...this.#object(`snapshots/${frameNo}`, bytes), lastFrameNo: snapshot.lastFrameNo }
    this.snapshotObjects.set(frameNo, object)
    return object
  }

  async snapshots(): Promise<MemorySnapshot[]> {
    await this.#serve('snapshots')
    return [...this.snapshotObjects.values()].sort((a, b) => (a.lastFrameNo ?? -1) - (b.lastFrameNo ?? -1))
  }

  async readSnapshot(
    stored: { readonly id: string },
    { signal, onProgress }: Limits & { readonly onProgress?: (byteCount: number) => void } = {},
  ): Promise<Snapshot> {
    const find = () => [...this.snapshotObjects.values()].find(({ id }) => id === stored.id)
    await this.#serve('readSnapshot', find())
    signal?.throwIfAborted()
    const object = find()
    if (object === undefined) throw gone(stored.id)
    onProgress?.(object.byteLength)
    this.#readCount += 1
    const path = join(this.#folder, `${this.#readCount}.db`)
    await writeFile(path, object.bytes)
    return Snapshot.open(path).catch((error) => {
      throw inObject(stored.id, error)
    })
  }

  async replaceLog(log: Log): Promise<MemoryLog> {
    return this.put(await log.bytes())
  }

  async remove(objects: readonly { readonly id: string }[]): Promise<void> {
    const ids = new Set(objects.map(({ id }) => id))
    for (const [key, { id }] of this.logObjects) if (ids.has(id)) this.logObjects.delete(key)
    for (const [key, { id }] of this.snapshotObjects) if (ids.has(id)) this.snapshotObjects.delete(key)
  }

  async close(): Promise<void> {}

  async #serve(call: Call, object?: MemoryObject): Promise<void> {
    this.calls.push(call)
    await this.before(call, object)
  }

  #object(id: string, bytes: Uint8Array): MemoryObject {
    return { id, bytes, byteLength: bytes.byteLength, storedAt: new Date() }
  }
}

/** The same log with another epoch in its header, and another time. */
export function stamped(bytes: Uint8Array, epoch: number, createdAtMs?: number): Uint8Array {
  const header = decodeLogHeader(bytes, {}, bytes.length)
  const changed = { ...header, epoch, createdAtMs: createdAtMs ?? header.createdAtMs }
  const copy = bytes.slice()
  copy.set(encodeLogHeader(changed))
  return copy
}

function gone(id: string): MylibsqlError {
  return new MylibsqlError('ERR_NOT_FOUND', `${id} is not there`, { path: id })
}

function inObject(id: string, error: unknown): unknown {
  if (!(error instanceof MylibsqlError)) return error
  return new MylibsqlError(error.code, `${id}: ${error.message}`, { ...error.details, path: id })
}
