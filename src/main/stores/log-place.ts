/** Where a FileStore has a log: in a file of its own, or at a place in a segment. Its id says so. */
import type { ListedLog } from '../../protocol/tasks.js'
import type { StoredLog } from './store.js'

export interface LogPlace {
  readonly path: string
  /** Absent: it has the file to itself. */
  readonly byteOffset?: number
}

export function placedLog({
  path,
  byteOffset,
  startFrameNo,
  byteLength,
  storedAtMs,
  isOpen,
}: ListedLog): StoredLog {
  const id = byteOffset === undefined ? path : `${path}@${byteOffset}`
  const log = { id, startFrameNo, byteLength, storedAt: new Date(storedAtMs) }
  return isOpen ? { ...log, isOpen } : log
}

export function placeOf({ id }: Pick<StoredLog, 'id'>): LogPlace {
  const [, path, byteOffset] = /^(.*\.log)@(\d+)$/.exec(id) ?? []
  return path === undefined ? { path: id } : { path, byteOffset: Number(byteOffset) }
}

/** Whether it is the same log, wherever it is now: one that has taken its place has other bytes or another time. */
export function isSameLog(left: StoredLog, right: StoredLog): boolean {
  return (
    left.startFrameNo === right.startFrameNo &&
    left.byteLength === right.byteLength &&
    left.storedAt.getTime() === right.storedAt.getTime()
  )
}
