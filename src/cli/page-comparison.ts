/** Compares the pages of two snapshots, byte for byte. */
import { type FileHandle, open } from 'node:fs/promises'
import type { Snapshot } from '../main/index.js'

/** A multiple of every page size. */
const chunkBytes = 1024 * 1024

type Pages = Pick<Snapshot, 'path' | 'pageSize' | 'pageCount'>

/** Throws an Error that says where they differ first. */
export async function comparePages(expected: Pages, actual: Pages): Promise<void> {
  if (actual.pageSize !== expected.pageSize || actual.pageCount !== expected.pageCount) {
    throw new Error(`it has ${sizeOf(actual)} instead of ${sizeOf(expected)}`)
  }
  const files = [await open(expected.path), await open(actual.path)] as const
  try {
    await compareFiles(files, expected.pageCount * expected.pageSize, expected.pageSize)
  } finally {
    for (const file of files) await file.close()
  }
}

async function compareFiles(
  files: readonly [FileHandle, FileHandle],
  byteLength: number,
  pageSize: number,
): Promise<void> {
  const chunks = [Buffer.alloc(chunkBytes), Buffer.alloc(chunkBytes)] as const
  for (let at = 0; at < byteLength; at += chunkBytes) {
    const length = Math.min(chunkBytes, byteLength - at)
    const [expected, actual] = await Promise.all([
      readFully(files[0], chunks[0].subarray(0, length), at),
      readFully(files[1], chunks[1].subarray(0, length), at),
    ])
    if (expected.equals(actual)) continue
    const offset = at + expected.findIndex((byte, index) => byte !== actual[index])
    throw new Error(`page ${Math.floor(offset / pageSize) + 1} differs from its byte ${offset % pageSize} on`)
  }
}

async function readFully(file: FileHandle, target: Buffer, position: number): Promise<Buffer> {
  for (let done = 0; done < target.length; ) {
    const { bytesRead } = await file.read(target, done, target.length - done, position + done)
    if (bytesRead === 0) throw new Error(`the file ends at byte ${position + done}`)
    done += bytesRead
  }
  return target
}

function sizeOf({ pageCount, pageSize }: Pages): string {
  return `${pageCount} pages of ${pageSize} bytes`
}
