/** Records of merged logs: how they are checked, picked out of a run, and applied. */
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { FrameRun, FrameSource } from '../../src/worker/native.js'
import { native, Pair, randomFrom, runOf, temporaryDirectory, thrownBy } from './addon.js'

const pageSize = 512
const stride = 24 + pageSize
const startFrameNo = 40
const startChecksum = 0x1122_3344_5566_7788n

interface Header {
  frameNo: number
  pageNo: number
  sizeAfter: number
}

/** Records of made-up pages with these headers, chained. */
function recordsOf(headers: readonly Header[]): Uint8Array {
  const random = randomFrom(headers.length)
  const bytes = Uint8Array.from({ length: headers.length * stride }, () => random() * 256)
  const view = new DataView(bytes.buffer)
  let checksum = startChecksum
  for (const [index, { frameNo, pageNo, sizeAfter }] of headers.entries()) {
    const at = index * stride
    view.setBigUint64(at, BigInt(frameNo), true)
    view.setUint32(at + 16, pageNo, true)
    view.setUint32(at + 20, sizeAfter, true)
    const beforePage = native.crc64(bytes.subarray(at, at + 8), checksum)
    checksum = native.crc64(bytes.subarray(at + 16, at + stride), beforePage)
    view.setBigUint64(at + 8, checksum, true)
  }
  return bytes
}

/** Every third frame of 40 .. 40 + 3n - 1, the last of them among those. */
function mergedRun(recordCount: number, change?: { index: number; fields: Partial<Header> }) {
  const headers = Array.from({ length: recordCount }, (_, index): Header => {
    const isLast = index === recordCount - 1
    return { frameNo: startFrameNo + 3 * index + 2, pageNo: index + 1, sizeAfter: isLast ? recordCount : 0 }
  })
  if (change !== undefined) Object.assign(headers[change.index]!, change.fields)
  const bytes = recordsOf(headers)
  const run = {
    ...runOf(bytes, pageSize, startFrameNo, startChecksum),
    mergedEndFrameNo: startFrameNo + 3 * recordCount,
  }
  const endChecksum = new DataView(bytes.buffer).getBigUint64(bytes.length - stride + 8, true)
  return { bytes, run, endChecksum }
}

function openFile(content: Uint8Array = new Uint8Array()): { fd: number; path: string } {
  const path = join(temporaryDirectory(), 'file')
  writeFileSync(path, content)
  const fd = openSync(path, 'r+')
  onTestFinished(() => closeSync(fd))
  return { fd, path }
}

/** In memory, and in a file behind 100 other bytes. */
function sourcesOf(bytes: Uint8Array): [string, FrameSource][] {
  const { fd } = openFile(Buffer.concat([Buffer.alloc(100), bytes]))
  return [
    ['bytes', { bytes }],
    ['file', { fd, byteOffset: 100 }],
  ]
}

describe('checkFrames of a merged log', () => {
  test.each([1, 2, 3, 2000])('%d good records', (recordCount) => {
    const { bytes, run, endChecksum } = mergedRun(recordCount)
    for (const [kind, source] of sourcesOf(bytes)) {
      expect(native.checkFrames(source, run), kind).toEqual({
        badIndex: -1,
        reason: undefined,
        lastSizeAfter: recordCount,
        endChecksum,
      })
    }
  })

  test.each<[string, string, number, number, Partial<Header>]>([
    ['a number that comes twice', 'frameNo', 700, 700, { frameNo: 2139 }],
    ['a number that goes down', 'frameNo', 700, 700, { frameNo: 41 }],
    ['a number before the first one', 'frameNo', 0, 0, { frameNo: 39 }],
    ['a number as large as the last one', 'frameNo', 998, 998, { frameNo: 3039 }],
    ['a number beyond the end', 'frameNo', 5, 5, { frameNo: 2 ** 50 }],
    ['another last number', 'frameNo', 999, 999, { frameNo: 3038 }],
    ['a last number beyond the end', 'frameNo', 999, 999, { frameNo: 3040 }],
    ['page 0', 'pageNo', 3, 3, { pageNo: 0 }],
    ['a page beyond the final size', 'sizeAfter', 999, 3, { pageNo: 1001 }],
    ['a transaction that ends before', 'sizeAfter', 3, 3, { sizeAfter: 1000 }],
    ['no end of a transaction', 'sizeAfter', 999, 999, { sizeAfter: 0 }],
  ])('%s', (_, reason, badIndex, index, fields) => {
    const { bytes, run } = mergedRun(1000, { index, fields })
    for (const [kind, source] of sourcesOf(bytes)) {
      expect(native.checkFrames(source, run), kind).toMatchObject({ badIndex, reason })
    }
  })

  test('one bit anywhere in a record', () => {
    const { bytes, run } = mergedRun(4)
    for (let bit = 0; bit < stride * 8; bit++) {
      const damaged = bytes.slice()
      damaged[2 * stride + (bit >> 3)]! ^= 1 << (bit & 7)
      const { badIndex } = native.checkFrames({ bytes: damaged }, run)
      // A page number is found to be too large when the last record tells the size.
      expect([2, 3], `bit ${bit}`).toContain(badIndex)
    }
  })

  test('fewer and more records than there are', () => {
    const { bytes, run } = mergedRun(1000)
    const check = (frameCount: number) => native.checkFrames({ bytes }, { ...run, frameCount })
    expect(check(999)).toMatchObject({ badIndex: 998, reason: 'frameNo' })
    expect(check(1001)).toMatchObject({ badIndex: 999, reason: 'frameNo' })
  })

  test('is not a run without gaps', () => {
    const { bytes, run } = mergedRun(10)
    const { mergedEndFrameNo: _, ...plain } = run
    expect(native.checkFrames({ bytes }, plain)).toMatchObject({ badIndex: 0, reason: 'frameNo' })
  })
})

test('checkFrames gives the page numbers', () => {
  const { bytes, run } = mergedRun(2000)
  const pageNos = new Uint32Array(2000)
  expect(native.checkFrames({ bytes }, run, pageNos).badIndex).toBe(-1)
  expect(pageNos).toEqual(Uint32Array.from({ length: 2000 }, (_, index) => index + 1))
  expect(thrownBy(() => native.checkFrames({ bytes }, run, new Uint32Array(1999)))).toBeInstanceOf(TypeError)
  const wrong = new Int32Array(2000) as unknown as Uint32Array
  expect(thrownBy(() => native.checkFrames({ bytes }, run, wrong))).toBeInstanceOf(TypeError)
})

/** A run without gaps, of transactions that make the database smaller and larger. */
function plainRun(frameCount: number, seed: number) {
  const random = randomFrom(seed)
  const integer = (min: number, max: number) => min + Math.floor(random() * (max - min + 1))
  const headers = Array.from({ length: frameCount }, (_, index): Header => {
    const pageNo = integer(1, 12)
    const isEnd = index === frameCount - 1 || random() < 0.3
    return { frameNo: startFrameNo + index, pageNo, sizeAfter: isEnd ? integer(pageNo, 12) : 0 }
  })
  const bytes = recordsOf(headers)
  return { headers, bytes, run: runOf(bytes, pageSize, startFrameNo, startChecksum) }
}

/** Which records are the last of a page that exists at the end. */
function lastVersions(headers: readonly Header[]): Uint8Array {
  const { sizeAfter } = headers.at(-1)!
  return Uint8Array.from(headers, ({ pageNo }, index) =>
    Number(pageNo <= sizeAfter && headers.slice(index + 1).every((later) => later.pageNo !== pageNo)),
  )
}

describe('pickFrames', () => {
  test.each([1, 2, 3, 40, 2000])('of %d records: those that are picked, as a merged run', (frameCount) => {
    const { headers, bytes, run } = plainRun(frameCount, frameCount)
    const isPicked = lastVersions(headers)
    const picked = headers.filter((_, index) => isPicked[index] === 1)
    for (const [kind, source] of sourcesOf(bytes)) {
      const { fd, path } = openFile()
      const { check, checksum } = native.pickFrames(source, run, isPicked, fd, 50, startChecksum, true)
      expect(check, kind).toEqual(native.checkFrames(source, run))
      const written = Uint8Array.from(readFileSync(path).subarray(50))
      const mergedEndFrameNo = startFrameNo + frameCount
      const merged: FrameRun = { ...run, frameCount: picked.length, mergedEndFrameNo }
      const { sizeAfter } = headers.at(-1)!
      expect(native.checkFrames({ bytes: written }, merged)).toEqual({
        badIndex: -1,
        reason: undefined,
        lastSizeAfter: sizeAfter,
        endChecksum: checksum,
      })
      const view = new DataView(written.buffer)
      for (const [index, { frameNo, pageNo }] of picked.entries()) {
        expect(Number(view.getBigUint64(index * stride, true))).toBe(frameNo)
        expect(view.getUint32(index * stride + 16, true)).toBe(pageNo)
        const page = written.subarray(index * stride + 24, (index + 1) * stride)
        const from = (frameNo - startFrameNo) * stride
        expect(Buffer.from(page).equals(bytes.subarray(from + 24, from + stride))).toBe(true)
      }
    }
  })

  test('of a run that does not end the log, none ends a transaction; of none, nothing', () => {
    const { headers, bytes, run } = plainRun(100, 1)
    const { fd, path } = openFile()
    const all = new Uint8Array(100).fill(1)
    native.pickFrames({ bytes }, run, all, fd, 0, startChecksum, false)
    const view = new DataView(Uint8Array.from(readFileSync(path)).buffer)
    expect(view.byteLength).toBe(100 * stride)
    for (const index of headers.keys()) expect(view.getUint32(index * stride + 20, true)).toBe(0)
    const none = openFile()
    const nothing = native.pickFrames({ bytes }, run, new Uint8Array(100), none.fd, 0, 5n, true)
    expect(nothing).toMatchObject({ checksum: 5n, check: { badIndex: -1 } })
    expect(readFileSync(none.path)).toHaveLength(0)
  })

  test('says what is wrong with the run, in what it leaves out too', () => {
    const { headers, bytes, run } = plainRun(1000, 2)
    const isPicked = lastVersions(headers)
    const { fd } = openFile()
    const pick = (source: FrameSource, frameCount = 1000) =>
      native.pickFrames(source, { ...run, frameCount }, isPicked, fd, 0, startChecksum, true).check
    const leftOut = isPicked.indexOf(0, 500)
    const damaged = bytes.slice()
    damaged[leftOut * stride + 100]! ^= 1
    expect(pick({ bytes: damaged })).toMatchObject({ badIndex: leftOut, reason: 'checksum' })
    expect(pick({ bytes: bytes.subarray(0, -1) })).toMatchObject({ badIndex: 999, reason: 'truncated' })
    const other = { ...run, startChecksum: 5n }
    expect(native.pickFrames({ bytes }, other, isPicked, fd, 0, 0n, true).check.reason).toBe('lineage')
    const short = () => native.pickFrames({ bytes }, run, isPicked.subarray(1), fd, 0, 0n, true)
    expect(thrownBy(short)).toBeInstanceOf(TypeError)
    const readOnly = openSync('/dev/null', 'r')
    onTestFinished(() => closeSync(readOnly))
    const refused = thrownBy(() => native.pickFrames({ bytes }, run, isPicked, readOnly, 0, 0n, true))
    expect(refused.code).toBe('ERR_IO')
  })
})

test('a merged run gives the same database as all frames in one go, also where pages were cut off in between', () => {
  for (let seed = 0; seed < 60; seed++) {
    const { headers, bytes, run } = plainRun(30, seed)
    const isPicked = lastVersions(headers)
    const records = openFile()
    native.pickFrames({ bytes }, run, isPicked, records.fd, 0, startChecksum, true)
    const frameCount = isPicked.filter((one) => one === 1).length
    const merged: FrameRun = { ...run, frameCount, mergedEndFrameNo: startFrameNo + 30 }
    const [whole, picked] = [openFile(), openFile()]
    native.applyFrames({ bytes }, run, whole.fd)
    native.applyFrames({ fd: records.fd, byteOffset: 0 }, merged, picked.fd)
    expect(readFileSync(picked.path).equals(readFileSync(whole.path)), `seed ${seed}`).toBe(true)
  }
})

test.each([512, 4096])('inject takes a merged run as one transaction, pages of %d bytes', (size) => {
  const pair = new Pair(temporaryDirectory(), { pageSize: size })
  const { db } = pair.primary
  db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, text)')
  const insert = db.prepare("INSERT OR REPLACE INTO t VALUES (?, printf('%.*c', ?, 'x'))")
  for (let round = 0; round < 5; round++) {
    for (let id = 0; id < 200; id++) insert.run(id, 300 + round)
    if (round === 3) db.exec('DELETE FROM t WHERE id > 50; VACUUM')
    const { bytes, run } = pair.readRun()
    const pageNos = new Uint32Array(run.frameCount)
    const { lastSizeAfter } = native.checkFrames({ bytes }, run, pageNos)
    const isPicked = Uint8Array.from(pageNos, (pageNo, index) =>
      Number(pageNo <= lastSizeAfter && pageNos.lastIndexOf(pageNo) === index),
    )
    const { fd } = openFile()
    const { checksum } = native.pickFrames({ bytes }, run, isPicked, fd, 0, run.startChecksum, true)
    const frameCount = isPicked.filter((one) => one === 1).length
    expect(frameCount).toBeLessThanOrEqual(run.frameCount)
    const mergedEndFrameNo = run.startFrameNo + run.frameCount
    const merged: FrameRun = { ...run, frameCount, mergedEndFrameNo }
    const source = { fd, byteOffset: 0 }
    const { wal } = pair.replica
    const before = wal.position()
    expect(wal.inject(source, { ...merged, mergedEndFrameNo: mergedEndFrameNo + 1 }, checksum)).toMatchObject(
      {
        badIndex: frameCount - 1,
        reason: 'frameNo',
      },
    )
    expect(wal.inject(source, merged, checksum ^ 1n).reason).toBe('endChecksum')
    expect(wal.position()).toMatchObject({ frameCount: before.frameCount, changeCount: before.changeCount })
    expect(wal.inject(source, merged, checksum).badIndex).toBe(-1)
    expect(wal.position().changeCount).toBe(before.changeCount + 1)
  }
  pair.expectSame()
})
