import { expect, it } from 'vitest'
import { encodeFrame, frameHeaderBytes } from '../../src/protocol/frame.js'
import { FramesMessage, readFramesMessage } from '../../src/protocol/frames-message.js'

const pageSize = 512
const startFrameNo = 2 ** 40 + 7
const startChecksum = 0xfedc_ba98_7654_3210n

function message(): ArrayBuffer {
  const message = new FramesMessage(2 * (frameHeaderBytes + pageSize))
  message.setHeader(3, pageSize, startFrameNo, startChecksum)
  for (const index of [0, 1]) {
    const frame = {
      frameNo: startFrameNo + index,
      pageNo: index + 1,
      sizeAfter: index,
      checksum: BigInt(index),
    }
    const data = new Uint8Array(pageSize).fill(index + 1)
    encodeFrame({ ...frame, data }, message.records, index * (frameHeaderBytes + pageSize))
  }
  return message.buffer
}

it('has the bytes of its table', () => {
  const header = Buffer.from(message(), 0, 24).toString('hex')
  expect(header).toBe('03000000' + '00020000' + '0070000000007042' + '1032547698badcfe')
})

it('is read as the batch it was made of', () => {
  const { feedNo, batch } = readFramesMessage(message())
  expect(feedNo).toBe(3)
  expect(batch).toMatchObject({ startFrameNo, nextFrameNo: startFrameNo + 2, pageSize, startChecksum })
  expect(
    batch.frames.map(({ frameNo, pageNo, sizeAfter, checksum, data }) => [
      frameNo,
      pageNo,
      sizeAfter,
      checksum,
      data[0],
    ]),
  ).toEqual([
    [startFrameNo, 1, 0, 0n, 1],
    [startFrameNo + 1, 2, 1, 1n, 2],
  ])
})
