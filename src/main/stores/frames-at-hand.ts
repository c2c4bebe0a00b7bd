/** How many frames logs have that a replica's thread is about to take, for a trace, which begins before anybody reads them. */
import { open } from 'node:fs/promises'
import { type FrameNo, frameHeaderBytes } from '../../protocol/frame.js'
import { type LogLocation, logHeaderBytesV3 } from '../../protocol/log-format.js'
import { isCompressedObject } from '../../protocol/object-format.js'
import type { StoredLog } from './store.js'

/** As the sizes of plain logs tell, of which each begins where the one before ends; undefined: one of them does not tell. */
export async function framesAtHand(
  logs: readonly StoredLog[],
  locations: readonly LogLocation[],
  pageSize: number,
): Promise<{ startFrameNo: FrameNo; frameCount: number } | undefined> {
  let frameCount = 0
  for (const [index, { byteLength }] of logs.entries()) {
    const ownCount = (byteLength - logHeaderBytesV3) / (frameHeaderBytes + pageSize)
    if (!Number.isInteger(ownCount) || (await isCompressed(locations[index]!))) return undefined
    frameCount += ownCount
  }
  return { startFrameNo: logs[0]!.startFrameNo, frameCount }
}

async function isCompressed(location: LogLocation): Promise<boolean> {
  if ('bytes' in location) return isCompressedObject(location.bytes)
  // A segment holds plain logs.
  if (location.byteOffset !== undefined) return false
  try {
    const handle = await open(location.path, 'r')
    try {
      const { buffer } = await handle.read(new Uint8Array(8), 0, 8, 0)
      return isCompressedObject(buffer)
    } finally {
      await handle.close()
    }
  } catch {
    // It is not applied either.
    return false
  }
}
