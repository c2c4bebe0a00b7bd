/** The folder of one load: the snapshot that it started from, and a log file for each checkpoint. */
import { mkdir, readdir } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import type { Log } from '../main/index.js'
import { UsageError } from './usage-error.js'

/** Digits of the largest frame number, so that names sort as numbers do. */
const frameNoDigits = 16

export class LogFolder {
  readonly path: string
  /** Absolute, in order. */
  readonly logPaths: string[] = []
  #byteCount = 0

  private constructor(path: string) {
    this.path = path
  }

  /** Makes the folder. Throws UsageError when there is something in it: histories must not be mixed. */
  static async create(path: string): Promise<LogFolder> {
    await mkdir(path, { recursive: true })
    const [found] = await readdir(path)
    if (found !== undefined) {
      throw new UsageError(`--dir ${path} has files in it, such as ${found}: name a new or an empty folder`)
    }
    return new LogFolder(resolve(path))
  }

  get snapshotPath(): string {
    return join(this.path, 'base.db')
  }

  /** Bytes of all logs. */
  get byteCount(): number {
    return this.#byteCount
  }

  /** Saves a log under the number of its first frame: complete or not at all, and synced. */
  async save(log: Log): Promise<string> {
    const path = join(this.path, `${String(log.startFrameNo).padStart(frameNoDigits, '0')}.log`)
    await log.copyTo(path)
    this.logPaths.push(path)
    this.#byteCount += log.byteLength
    return path
  }
}
