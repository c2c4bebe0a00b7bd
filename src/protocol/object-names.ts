/** Names of objects in stores that keep each one under a name: zero-padded, so that they sort by number. */
import type { FrameNo } from './frame.js'

export { epochName, epochOf } from './epoch-name.js'

const digits = 16
const blankName = 'blank.db'

export const logName = (startFrameNo: FrameNo) => `${String(startFrameNo).padStart(digits, '0')}.log`
export const snapshotName = (lastFrameNo: FrameNo | undefined) =>
  lastFrameNo === undefined ? blankName : `${String(lastFrameNo).padStart(digits, '0')}.db`

/** Of what says where a segment ends: the number that the segment begins with. */
export const endName = (startFrameNo: FrameNo) => String(startFrameNo).padStart(digits, '0')
export const startOfEnd = (name: string) => numberIn(/^(\d{16})$/, name)

/** Undefined: the object is no log of the store. */
export const startFrameNoOf = (name: string) => numberIn(/^(\d{16})\.log$/, name)
export const isSnapshotName = (name: string) => name === blankName || lastFrameNoOf(name) !== undefined
/** Undefined also for the blank database. */
export const lastFrameNoOf = (name: string) => numberIn(/^(\d{16})\.db$/, name)

function numberIn(pattern: RegExp, name: string): number | undefined {
  const found = pattern.exec(name)?.[1]
  return found === undefined || !Number.isSafeInteger(Number(found)) ? undefined : Number(found)
}
