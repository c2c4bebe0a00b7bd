/** A reader of a replica: the workload's query again and again, each row looked at. */
import { setTimeout as pause } from 'node:timers/promises'
import type { Readable, Workload } from './workload.js'

export interface ReaderOptions {
  readonly workload: Pick<Workload, 'query' | 'checkRow'>
  readonly readPauseMs: number
  /** Ends it, also in its pause. */
  readonly signal: AbortSignal
  readonly onRead: () => void
}

/** Resolves when the signal aborts. Rejects when a read fails, or gives what it may not. */
export async function readRepeatedly(database: Readable, options: ReaderOptions): Promise<void> {
  const { workload, readPauseMs, signal, onRead } = options
  while (!signal.aborted) {
    try {
      workload.checkRow(await database.get(workload.query))
    } catch (cause) {
      throw new Error('A read from a replica failed', { cause })
    }
    onRead()
    await pause(readPauseMs, undefined, { signal }).catch(() => {})
  }
}
