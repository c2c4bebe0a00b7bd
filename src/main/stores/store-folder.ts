/**
 * The files of a FileStore, and the order of steps that makes each of them durable, complete or not there, and
 * create-only where it has to be:
 *
 *     create     write tmp/x, fdatasync it, link(tmp/x, logs/N) which never overwrites, fsync logs/, unlink tmp/x
 *     replace    write tmp/x, fdatasync it, rename(tmp/x, snapshots/N), fsync snapshots/
 *
 * A log is looked at before it is replaced or removed; that both are one step is for the lock file to make sure.
 *
 * The bytes are on disk before they have a name: whatever has a name is complete, also after a loss of power. The name is
 * on disk before anybody is told. What is in tmp/ belongs to a writer, or to one that is gone: removed a day later.
 *
 *     mylibsql-store.json   says that the folder is a store, written first and last removed
 *     mylibsql-store.lock   locked by whoever replaces or removes
 *     epochs/N  ends/N  logs/N.log  snapshots/N.db  tmp/
 */
import { randomBytes } from 'node:crypto'
import { type FileHandle, link, mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { MylibsqlError } from '../../protocol/errors.js'
import { storeError } from '../../protocol/store-error.js'
import { locked } from './folder-lock.js'
import { checkMarker, markerBytes, markerName } from './store-marker.js'

export type Kind = 'epochs' | 'logs' | 'snapshots'
const folders = ['epochs', 'ends', 'logs', 'snapshots', 'tmp']

/** Makes a file at a path where there is none; not yet synced. */
export type Write = (path: string) => Promise<FileHandle>

export interface ObjectFacts {
  readonly byteLength: number
  readonly storedAt: Date
}

/** Locked while a file is looked at and replaced, or removed. Appends and reads do not wait for it. */
const lockName = 'mylibsql-store.lock'
/** Files; then others have their turn. */
const removedAtOnce = 100
/** Of a file that nobody has written to meanwhile. What a dead writer left costs only space: there is no hurry. */
const leftoverAgeMs = 24 * 60 * 60 * 1000

export class StoreFolder {
  readonly path: string
  readonly #canCreate: boolean
  /** It was seen to be a store. One that vanishes is not made again: it had a history, and this one would begin another. */
  #isStore = false
  #ready: Promise<void> | undefined
  readonly #tidying = new Set<Promise<void>>()

  constructor(path: string, canCreate: boolean) {
    this.path = path
    this.#canCreate = canCreate
  }

  pathOf(kind: Kind, name: string): string {
    return join(this.path, kind, name)
  }

  /** For what is written before it gets its name. */
  newTemporaryPath(): string {
    return join(this.path, 'tmp', temporaryName())
  }

  /** Names of all objects of a kind; none in an empty folder. Throws ERR_NOT_FOUND without a folder; ERR_STORE. */
  async names(kind: Kind): Promise<string[]> {
    return (await this.read(kind, (path) => readdir(path))) ?? []
  }

  /** What `read` finds where objects of a kind are; undefined in an empty folder. Throws the same. */
  async read<T>(kind: Kind, read: (path: string) => Promise<T>): Promise<T | undefined> {
    if (!this.#isStore) this.#isStore = await this.#look()
    if (!this.#isStore) return undefined
    const path = join(this.path, kind)
    try {
      return await read(path)
    } catch (error) {
      if (!isMissing(error)) throw storeError(error, 'list', path)
      // Somebody is just making the store, or has removed it.
      await this.#look()
      return undefined
    }
  }

  /** Makes the store if there is none, and it may. Throws ERR_NOT_FOUND, ERR_STORE. */
  async prepare(): Promise<void> {
    this.#ready ??= this.#prepare()
    const ready = this.#ready
    try {
      await ready
    } catch (error) {
      if (this.#ready === ready) this.#ready = undefined
      throw error
    }
  }

  /** Undefined when there is one of that name: it stays. Throws ERR_STORE. */
  create(kind: Kind, name: string, write: Write): Promise<ObjectFacts | undefined> {
    return this.#write(kind, name, write, async (temporary, path) => {
      try {
        await link(temporary, path)
        return true
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
        throw error
      }
    })
  }

  /** What was there before is replaced, unless `isMeant` looks at it and says no. Throws ERR_STORE. */
  replace(kind: Kind, name: string, write: Write): Promise<ObjectFacts>
  replace(
    kind: Kind,
    name: string,
    write: Write,
    condition: { readonly timeoutMs: number; readonly isMeant: () => Promise<boolean> },
  ): Promise<ObjectFacts | undefined>
  async replace(
    kind: Kind,
    name: string,
    write: Write,
    condition?: { readonly timeoutMs: number; readonly isMeant: () => Promise<boolean> },
  ): Promise<ObjectFacts | undefined> {
    return this.#write(kind, name, write, async (temporary, path) => {
      const give = () => rename(temporary, path).then(() => true)
      if (condition === undefined) return give()
      const { timeoutMs, isMeant } = condition
      return this.#locked(timeoutMs, async () => (await isMeant()) && give())
    })
  }

  /** Removes those that are there. Throws ERR_STORE. */
  async remove(kind: Kind, names: readonly string[]): Promise<void> {
    if (names.length === 0) return
    await this.prepare()
    for (const name of names) await this.#remove(kind, name)
    await this.syncFolder(kind)
  }

  /** Those that `choose` says are to be removed, again and again until it says none: nothing is replaced in between. */
  async removeChosen(kind: Kind, timeoutMs: number, choose: () => Promise<readonly string[]>): Promise<void> {
    await this.prepare()
    for (let isMore = true; isMore; ) {
      isMore = await this.#locked(timeoutMs, async () => {
        const names = await choose()
        for (const name of names.slice(0, removedAtOnce)) await this.#remove(kind, name)
        return names.length > removedAtOnce
      })
    }
    await this.syncFolder(kind)
  }

  /** Names that are there are durable afterwards. Throws ERR_STORE. */
  syncFolder(kind: Kind): Promise<void> {
    const path = join(this.path, kind)
    return this.#attempt('sync', path, () => syncPath(path))
  }

  /** Waits until no temporary file is left of what has settled. */
  async tidied(): Promise<void> {
    await Promise.all(this.#tidying)
  }

  #remove(kind: Kind, name: string): Promise<void> {
    const path = this.pathOf(kind, name)
    return this.#attempt('remove', path, () => rm(path, { force: true }))
  }

  #locked<T>(timeoutMs: number, operation: () => Promise<T>): Promise<T> {
    return locked(join(this.path, lockName), timeoutMs, operation)
  }

  /** What the system says, as ERR_STORE. */
  async #attempt<T>(action: string, path: string, operation: () => Promise<T>): Promise<T> {
    try {
      return await operation()
    } catch (error) {
      throw storeError(error, action, path)
    }
  }

  /** `give` gives the synced file its name; false: it must not. */
  async #write(
    kind: Kind,
    name: string,
    write: Write,
    give: (temporary: string, path: string) => Promise<boolean>,
  ): Promise<ObjectFacts | undefined> {
    await this.prepare()
    const path = this.pathOf(kind, name)
    const temporary = this.newTemporaryPath()
    let file: FileHandle | undefined
    let folder: Promise<FileHandle> | undefined
    try {
      file = await write(temporary)
      folder = open(join(this.path, kind), 'r')
      await Promise.all([file.datasync(), folder])
      if (!(await give(temporary, path))) return undefined
      const [{ size, mtime }] = await Promise.all([file.stat(), (await folder).sync()])
      return { byteLength: size, storedAt: mtime }
    } catch (error) {
      throw storeError(error, 'write', path)
    } finally {
      // No caller waits: the object is there and durable, or it is not.
      const tidying = tidyUp(temporary, [file, folder]).finally(() => this.#tidying.delete(tidying))
      this.#tidying.add(tidying)
    }
  }

  async #prepare(): Promise<void> {
    if (this.#canCreate && !this.#isStore) await this.#makeFolder(this.path)
    if (!(await this.#look())) {
      if (!this.#canCreate) throw this.#missing()
      await this.#make()
      await this.#checkMarker()
    }
    this.#isStore = true
    for (const name of folders) await this.#makeFolder(join(this.path, name))
    void this.#removeLeftovers()
  }

  /** Whether the folder holds a store; false: it is empty. Throws ERR_NOT_FOUND; ERR_STORE, ERR_VERSION for anything else. */
  async #look(): Promise<boolean> {
    const entries = await readdir(this.path).catch((error: NodeJS.ErrnoException) => {
      throw error.code === 'ENOENT' ? this.#missing(error) : storeError(error, 'open the store', this.path)
    })
    if (entries.includes(markerName)) {
      await this.#checkMarker()
      return true
    }
    const foreign = entries.find((name) => !name.startsWith(`.${markerName}`))
    if (foreign === undefined) return false
    const message = `${this.path} is no store of mylibsql: it holds other files, such as ${foreign}. Nothing was changed`
    throw new MylibsqlError('ERR_STORE', message, { path: join(this.path, foreign) })
  }

  /** One that was there is a disk that is not mounted just now, or worse: not the same as a path where there is none. */
  #missing(cause?: unknown): MylibsqlError {
    const { path } = this
    if (this.#isStore) {
      const message = `The store at ${path} has vanished. Nothing is made in its place`
      return new MylibsqlError('ERR_STORE', message, { path }, { cause })
    }
    const advice = this.#canCreate ? '. The first write makes one, such as store.putSnapshot(snapshot)' : ''
    const message = `There is no store at ${path}: check the path${advice}`
    return new MylibsqlError('ERR_NOT_FOUND', message, { path }, { cause })
  }

  /** The marker is written before anything else, create-only: many processes may do this at once. */
  async #make(): Promise<void> {
    const path = join(this.path, markerName)
    const temporary = join(this.path, `.${markerName}.${randomBytes(8).toString('hex')}`)
    await this.#attempt('write', path, async () => {
      try {
        const handle = await open(temporary, 'wx')
        try {
          await handle.writeFile(markerBytes())
          await handle.sync()
        } finally {
          await handle.close()
        }
        await link(temporary, path).catch((error: NodeJS.ErrnoException) => {
          if (error.code !== 'EEXIST') throw error
        })
      } finally {
        await rm(temporary, { force: true })
      }
      await syncPath(this.path)
    })
  }

  async #checkMarker(): Promise<void> {
    const path = join(this.path, markerName)
    const text = await this.#attempt('read', path, () => readFile(path, 'utf8'))
    checkMarker(text, path)
  }

  async #makeFolder(path: string): Promise<void> {
    await this.#attempt('make the folder', path, async () => {
      const first = await mkdir(path, { recursive: true })
      if (first !== undefined) await syncPath(dirname(first))
    })
  }

  /** Nobody waits for it, and failing is no failure of what the caller does. */
  async #removeLeftovers(): Promise<void> {
    const folder = join(this.path, 'tmp')
    const names = await readdir(folder).catch(() => [])
    for (const name of names) await removeIfOld(join(folder, name)).catch(() => {})
  }
}

const ownName = `${process.pid}-${randomBytes(4).toString('hex')}`
let fileCount = randomBytes(4).readUInt32LE()

/** What the system says is told as it is, or by a thread of the library. */
function isMissing(error: unknown): boolean {
  const { code, cause } = error as NodeJS.ErrnoException & { cause?: NodeJS.ErrnoException }
  return code === 'ENOENT' || (code === 'ERR_STORE' && cause?.code === 'ENOENT')
}

/** Of a file in tmp/, like no other. */
function temporaryName(): string {
  fileCount = (fileCount + 1) % 2 ** 32
  return `${ownName}${fileCount.toString(16).padStart(8, '0')}`
}

async function removeIfOld(path: string): Promise<void> {
  const { mtimeMs } = await stat(path)
  if (Date.now() - mtimeMs > leftoverAgeMs) await rm(path, { force: true })
}

type MaybeHandle = FileHandle | Promise<FileHandle> | undefined

/** Never rejects: what cannot be removed now is a leftover. */
async function tidyUp(temporary: string, handles: readonly MaybeHandle[]): Promise<void> {
  await Promise.allSettled(handles.map(async (handle) => (await handle)?.close()))
  await rm(temporary, { force: true }).catch(() => {})
}

async function syncPath(path: string): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
