import type { LogFile } from '../protocol/log-format.js'
import type { Log } from './log.js'

/**
 * Holds all logs while `operation` works on their files. They are asked for in one go: one after the
 * other, two callers with the same logs could wait for each other.
 */
export async function withLogFiles<T>(
  logs: readonly Log[],
  operation: (files: readonly LogFile[]) => Promise<T>,
): Promise<T> {
  let release = () => {}
  const released = new Promise<void>((resolve) => {
    release = resolve
  })
  const hold = (log: Log) =>
    new Promise<LogFile>((resolve, reject) => {
      const held = log.use((file) => {
        resolve(file)
        return released
      })
      held.catch(reject)
    })
  try {
    return await operation(await Promise.all(logs.map(hold)))
  } finally {
    release()
  }
}
