/** Logs that are to be stored, as the task threads get them: in memory, or a header and where the records are. */
import { cutShort } from '../protocol/log-check.js'
import { lz4BlockBytes } from '../protocol/lz4-frame.js'
import type { PlainLog, PlainRecords } from '../protocol/tasks.js'
import { readInto, withFile } from './file-io.js'
import { packedObject } from './lz4.js'

/** Kept: memory that is new comes from the system page by page, which takes longer than to fill it. */
let block: Uint8Array | undefined

/** Throws ERR_IO, ERR_CORRUPT when its file ends before. */
export function plainLogBytes({ bytes, records }: PlainLog): Uint8Array {
  if (records === undefined) return bytes
  const all = new Uint8Array(records.byteLength)
  withFile(records.path, 'r', (fd) => readBlock(fd, records, 0, all))
  all.set(bytes)
  return all
}

/** Its object, packed with LZ4; undefined: it would not be smaller. Throws the same. */
export function packedLogObject({ bytes, records }: PlainLog): Uint8Array | undefined {
  if (records === undefined)
    return packedObject(bytes.length, (at, byteLength) => bytes.subarray(at, at + byteLength))
  block ??= new Uint8Array(lz4BlockBytes)
  const kept = block
  return withFile(records.path, 'r', (fd) =>
    packedObject(records.byteLength, (at, byteLength) => {
      const target = kept.subarray(0, byteLength)
      readBlock(fd, records, at, target)
      if (at === 0) target.set(bytes)
      return target
    }),
  )
}

function readBlock(
  fd: number,
  { path, byteLength }: PlainRecords,
  byteOffset: number,
  target: Uint8Array,
): void {
  const count = readInto(fd, byteOffset, target)
  if (count < target.length) throw cutShort(path, byteLength, byteOffset + count)
}
