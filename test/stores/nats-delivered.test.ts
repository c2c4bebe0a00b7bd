/** What is kept of the bodies that come with the messages of a stream. */
import { describe, expect, it } from 'vitest'
import { DeliveredBodies, DeliveredLog } from '../../src/main/stores/nats-delivered.js'
import type { LogMessage, SequenceRange } from '../../src/main/stores/nats-message.js'
import { encodeObjectHeader } from '../../src/protocol/object-format.js'

const mebibyte = 1024 * 1024

function log(bodies: DeliveredBodies, sequence: number, parts: readonly SequenceRange[] = []): DeliveredLog {
  const message: LogMessage = {
    kind: 'log',
    epoch: 1,
    startFrameNo: sequence,
    nextFrameNo: sequence + 1,
    startChecksum: 0n,
    endChecksum: 1n,
    storedAtMs: 0,
    byteLength: 0,
    rawByteLength: 0,
    parts,
  }
  return new DeliveredLog(sequence, message, bodies)
}

const body = (value: number, byteLength = 100) => new Uint8Array(byteLength).fill(value)

describe('a log that was delivered', () => {
  it('is given out once, with its parts, in order', () => {
    const bodies = new DeliveredBodies()
    for (const sequence of [3, 4, 7, 8]) bodies.keep(sequence, body(sequence))
    const delivered = log(bodies, 8, [
      [3, 4],
      [7, 7],
    ])
    expect(delivered.take()?.map(([first]) => first)).toEqual([3, 4, 7, 8])
    expect(delivered.take()).toBeUndefined()
  })

  it('is not there when a part is missing', () => {
    const bodies = new DeliveredBodies()
    bodies.keep(3, body(3))
    bodies.keep(5, body(5))
    expect(log(bodies, 5, [[3, 4]]).take()).toBeUndefined()
  })

  it('takes those before it along, which nobody wants any more', () => {
    const bodies = new DeliveredBodies()
    for (const sequence of [1, 2, 3]) bodies.keep(sequence, body(sequence))
    const [first, second, third] = [1, 2, 3].map((sequence) => log(bodies, sequence))
    expect(second!.take()).toHaveLength(1)
    expect(first!.take()).toBeUndefined()
    expect(third!.take()).toHaveLength(1)
  })

  it('is at hand when it came whole, and would not take too much memory', () => {
    const bodies = new DeliveredBodies()
    bodies.keep(1, body(1))
    bodies.keep(2, encodeObjectHeader({ method: 'deflate', rawBytes: 32 * mebibyte }))
    bodies.keep(3, encodeObjectHeader({ method: 'deflate', rawBytes: 32 * mebibyte + 1 }))
    bodies.keep(4, encodeObjectHeader({ method: 'deflate', rawBytes: 100 }).fill(0, 16, 17))
    expect([1, 2, 3, 4, 5].map((sequence) => log(bodies, sequence).isAtHand)).toEqual([
      true,
      true,
      false,
      false,
      false,
    ])
  })
})

it('keeps 32 MiB, those that came first, and has room again for as much as was taken', () => {
  const bodies = new DeliveredBodies()
  for (let sequence = 1; sequence <= 40; sequence++) bodies.keep(sequence, body(0, mebibyte))
  // A message that comes again is the same.
  bodies.keep(1, body(1, mebibyte))
  expect(bodies.get(32)).toBeDefined()
  expect(bodies.get(33)).toBeUndefined()
  expect(log(bodies, 33).take()).toBeUndefined()
  expect(bodies.get(32)).toBeUndefined()
  for (let sequence = 41; sequence <= 80; sequence++) bodies.keep(sequence, body(0, mebibyte))
  expect(bodies.get(72)).toBeDefined()
  expect(bodies.get(73)).toBeUndefined()
})
