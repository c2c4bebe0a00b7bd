/** LZ4 frames as chunks that flow through: blocks are packed and unpacked in task threads, while others come and go. */
import { logMemoryBytesMax } from '../../protocol/limits.js'
import {
  decodeLz4Length,
  encodeLz4Length,
  isLz4End,
  isLz4FrameHeader,
  lz4BlockBytes,
  lz4FrameHeader,
  lz4LengthBytes,
} from '../../protocol/lz4-frame.js'
import type { PlainRecords } from '../../protocol/tasks.js'
import { runPackTask, runTask } from '../task-pool.js'
import { ChunkReader, type Chunks } from './chunk-reader.js'
import { Outbox } from './outbox.js'

type Bytes = Uint8Array<ArrayBuffer>
type Damaged = (reason: string) => Error

/** To start a second thread takes longer than one takes for so much. */
const oneThreadBytesMax = 32 * 1024 * 1024
const outbox = new Outbox(2 * logMemoryBytesMax)

/**
 * The object of a log that a thread takes at once: the whole log in pieces, or its header, and where its records are.
 * Undefined: it would not be smaller. Throws ERR_IO, ERR_CORRUPT naming the file of the records.
 */
export async function packedLog(
  pieces: readonly Uint8Array[],
  records?: PlainRecords,
): Promise<Uint8Array | undefined> {
  const bytes = outbox.filled(pieces)
  const object = await runPackTask({ kind: 'packLog', log: { bytes, ...(records && { records }) } })
  outbox.giveBack(bytes)
  return object
}

/** The frame that holds `chunks`, which are `rawBytes` in all. */
export async function* lz4Frame(
  chunks: Chunks,
  rawBytes: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  const source = new ChunkReader(chunks)
  try {
    yield lz4FrameHeader
    yield* ahead(blocksToPack(source), rawBytes, packed)
    yield new Uint8Array(lz4LengthBytes)
  } finally {
    await source.close()
  }
}

/** What a frame holds, `rawBytes` in all. Throws what `damaged` makes of a reason. */
export async function* lz4Content(
  chunks: Chunks,
  rawBytes: number,
  damaged: Damaged,
): AsyncGenerator<Uint8Array, void, undefined> {
  const source = new ChunkReader(chunks)
  try {
    if (!isLz4FrameHeader(await source.take(lz4FrameHeader.length)))
      throw damaged('it does not begin with the header of an LZ4 frame')
    const blocks = blocksToUnpack(source, rawBytes, damaged)
    yield* ahead(blocks, rawBytes, (block) => unpacked(block, damaged))
    if (!isLz4End(await source.take(lz4LengthBytes)))
      throw damaged('the end of its LZ4 frame is not where it says')
    if ((await source.take(1)).length > 0) throw damaged('other bytes follow on the compressed ones')
  } finally {
    await source.close()
  }
}

async function* blocksToPack(source: ChunkReader): AsyncGenerator<Bytes, void, undefined> {
  for (;;) {
    const bytes = await source.take(lz4BlockBytes)
    if (bytes.length === 0) return
    yield bytes
  }
}

async function packed(bytes: Bytes): Promise<readonly Uint8Array[]> {
  const rawBytes = bytes.length
  const block = await runPackTask({ kind: 'packLz4', bytes }, [bytes.buffer])
  return [encodeLz4Length({ byteLength: block.length, isPacked: block.length < rawBytes }), block]
}

interface PackedBlock {
  readonly bytes: Bytes
  readonly isPacked: boolean
  readonly rawBytes: number
}

async function* blocksToUnpack(
  source: ChunkReader,
  rawBytes: number,
  damaged: Damaged,
): AsyncGenerator<PackedBlock, void, undefined> {
  for (let rawAt = 0; rawAt < rawBytes; rawAt += lz4BlockBytes) {
    const blockRawBytes = Math.min(lz4BlockBytes, rawBytes - rawAt)
    const length = await source.take(lz4LengthBytes)
    const block = decodeLz4Length(length, blockRawBytes)
    if (block === undefined)
      throw damaged(`no LZ4 block of ${blockRawBytes} bytes begins behind ${rawAt} of them`)
    const bytes = await source.take(block.byteLength)
    if (bytes.length < block.byteLength) throw damaged('it ends within an LZ4 block')
    yield { bytes, isPacked: block.isPacked, rawBytes: blockRawBytes }
  }
}

async function unpacked(block: PackedBlock, damaged: Damaged): Promise<readonly Uint8Array[]> {
  if (!block.isPacked) return [block.bytes]
  const { bytes: packedBytes, rawBytes } = block
  const bytes = await runTask({ kind: 'unpackLz4', block: packedBytes, rawBytes }, [packedBytes.buffer])
  if (bytes === undefined) throw damaged(`it holds what is no LZ4 block of ${rawBytes} bytes`)
  return [bytes]
}

/** What the work on each of them gives, in order, with those behind it under way. */
async function* ahead<T>(
  blocks: AsyncIterable<T>,
  rawBytes: number,
  work: (block: T) => Promise<readonly Uint8Array[]>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const aheadMax = rawBytes > oneThreadBytesMax ? 1 : 0
  const underWay: Promise<readonly Uint8Array[]>[] = []
  for await (const block of blocks) {
    const worked = work(block)
    // Told when its turn comes; nobody asks for it when another one fails before.
    worked.catch(() => {})
    underWay.push(worked)
    if (underWay.length > aheadMax) yield* await underWay.shift()!
  }
  for (const worked of underWay) yield* await worked
}
