import {
  closeSync,
  copyFileSync,
  fstatSync,
  openSync,
  readFileSync,
  readSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { FrameRun, FrameSource } from '../../src/worker/native.js'
import { native, openDatabase, Pair, randomFrom, temporaryDirectory, thrownBy } from './addon.js'

const pageSize = 512
const stride = 24 + pageSize

/** Records of made-up pages, with the checksums of `version` written by hand from the definition. */
function makeRun(frameCount: number, version: 2 | 3, startFrameNo = 40) {
  const random = randomFrom(frameCount)
  const bytes = Uint8Array.from({ length: frameCount * stride }, () => random() * 256)
  const view = new DataView(bytes.buffer)
  const startChecksum = version === 3 ? 0x1122_3344_5566_7788n : 0n
  let checksum = startChecksum
  for (let i = 0; i < frameCount; i++) {
    const at = i * stride
    view.setBigUint64(at, BigInt(startFrameNo + i), true)
    view.setUint32(at + 16, 1 + (i % 9), true)
    view.setUint32(at + 20, i % 3 === 2 || i === frameCount - 1 ? 9 : 0, true)
    if (version === 3) {
      checksum = native.crc64(
        bytes.subarray(at + 16, at + stride),
        native.crc64(bytes.subarray(at, at + 8), checksum),
      )
    } else {
      const register = BigInt(`0b${[...checksum.toString(2).padStart(64, '0')].reverse().join('')}`)
      checksum = native.crc64(bytes.subarray(at + 24, at + stride), register ^ 0xffff_ffff_ffff_ffffn)
    }
    view.setBigUint64(at + 8, checksum, true)
  }
  const run: FrameRun = {
    frameCount,
    pageSize,
    startFrameNo,
    version,
    fileStartChecksum: startChecksum,
    startChecksum,
  }
  return { bytes, view, run, endChecksum: checksum }
}

/** The same records in memory, and in a file behind 100 other bytes. */
function sourcesOf(bytes: Uint8Array): [string, FrameSource][] {
  const path = join(temporaryDirectory(), 'records')
  writeFileSync(path, Buffer.concat([Buffer.alloc(100), bytes]))
  const fd = openSync(path, 'r')
  onTestFinished(() => closeSync(fd))
  return [
    ['bytes', { bytes }],
    ['file', { fd, byteOffset: 100 }],
  ]
}

describe.each([2, 3] as const)('checkFrames, version %d', (version) => {
  test.each([0, 1, 3, 2000])('%d good records', (frameCount) => {
    const { bytes, run, endChecksum } = makeRun(frameCount, version)
    for (const [kind, source] of sourcesOf(bytes)) {
      const check = native.checkFrames(source, run)
      expect(check, kind).toMatchObject({
        badIndex: -1,
        reason: undefined,
        lastSizeAfter: frameCount > 0 ? 9 : 0,
      })
      if (version === 3) expect(check.endChecksum).toBe(endChecksum)
    }
  })

  test('a chain that ends inside a transaction', () => {
    const { bytes, run } = makeRun(30, version)
    const check = native.checkFrames({ bytes }, { ...run, frameCount: 29 })
    expect(check).toMatchObject({ badIndex: -1, lastSizeAfter: 0 })
  })

  test.each<[string, number, (view: DataView, at: number) => void]>([
    ['frameNo', 700, (view, at) => view.setBigUint64(at, 1n, true)],
    ['pageNo', 700, (view, at) => view.setUint32(at + 16, 0, true)],
    ['pageNo', 700, (view, at) => view.setUint32(at + 16, 0xffff_ffff, true)],
    ['sizeAfter', 701, (view, at) => view.setUint32(at + 20, 0xffff_ffff, true)],
    ['sizeAfter', 701, (view, at) => view.setUint32(at + 20, 1, true)],
    ['checksum', 0, (view, at) => view.setUint8(at + 8, view.getUint8(at + 8) ^ 1)],
    ['checksum', 700, (view, at) => view.setUint8(at + 24, view.getUint8(at + 24) ^ 1)],
    ['checksum', 999, (view, at) => view.setUint8(at + stride - 1, view.getUint8(at + stride - 1) ^ 128)],
  ])('%s of record %d', (reason, index, damage) => {
    const { bytes, view, run } = makeRun(1000, version)
    damage(view, index * stride)
    for (const [kind, source] of sourcesOf(bytes)) {
      expect(native.checkFrames(source, run), kind).toMatchObject({ badIndex: index, reason })
    }
  })

  test('one bit anywhere in a record', () => {
    const { bytes, run } = makeRun(6, version)
    for (let bit = 0; bit < stride * 8; bit++) {
      const damaged = bytes.slice()
      damaged[3 * stride + (bit >> 3)]! ^= 1 << (bit & 7)
      const check = native.checkFrames({ bytes: damaged }, run)
      // Version 2 does not cover page number and size.
      const isCovered = version === 3 || bit < 16 * 8 || bit >= 24 * 8
      if (isCovered) expect(check.badIndex, `bit ${bit}`).toBe(3)
    }
  })

  test('records that end early, within a record and between two, whatever the number claims', () => {
    const { bytes, run } = makeRun(1000, version)
    for (const kept of [0, 1, stride - 1, stride, 512 * stride + 5, 999 * stride + 535]) {
      for (const [kind, source] of sourcesOf(bytes.slice(0, kept))) {
        const check = native.checkFrames(source, { ...run, frameCount: Number.MAX_SAFE_INTEGER })
        expect(check, kind).toMatchObject({ badIndex: Math.floor(kept / stride), reason: 'truncated' })
      }
    }
  })
})

test('checkFrames: a version 3 run of another history', () => {
  const { bytes, run } = makeRun(3, 3)
  expect(native.checkFrames({ bytes }, { ...run, startChecksum: 5n })).toMatchObject({
    badIndex: 0,
    reason: 'lineage',
  })
})

describe('rewriteFrames', () => {
  const openFile = (content: Uint8Array): [number, string] => {
    const path = join(temporaryDirectory(), 'rewritten')
    writeFileSync(path, content)
    const fd = openSync(path, 'r+')
    onTestFinished(() => closeSync(fd))
    return [fd, path]
  }

  test('3 to 2 and back gives the same bytes, and renumbers', () => {
    const { bytes, run, endChecksum } = makeRun(1500, 3)
    for (const [kind, source] of sourcesOf(bytes)) {
      const [fd, path] = openFile(Buffer.alloc(48))
      const v2: FrameRun = { ...run, version: 2, fileStartChecksum: 0n, startFrameNo: 7 }
      const last = native.rewriteFrames(source, v2, 2, fd, 48, 0n)
      const rewritten = readFileSync(path).subarray(48)
      expect(rewritten.readBigUInt64LE(1499 * stride + 8), kind).toBe(last)
      expect(rewritten.readBigUInt64LE(1499 * stride)).toBe(1506n)
      expect(native.checkFrames({ bytes: rewritten }, v2)).toMatchObject({ badIndex: -1 })

      const [fd3, path3] = openFile(new Uint8Array())
      const end = native.rewriteFrames(
        { fd, byteOffset: 48 },
        { ...run, version: 2 },
        3,
        fd3,
        0,
        run.startChecksum,
      )
      expect(end).toBe(endChecksum)
      expect(readFileSync(path3).equals(bytes)).toBe(true)
    }
  })

  test('in place, and refuses a source that ends early', () => {
    const { bytes, run } = makeRun(1500, 3)
    const [fd, path] = openFile(bytes)
    native.rewriteFrames({ fd, byteOffset: 0 }, { ...run, fileStartChecksum: 0n }, 2, fd, 0, 0n)
    const v2 = { ...run, version: 2, fileStartChecksum: 0n } as const
    expect(native.checkFrames({ bytes: readFileSync(path) }, v2)).toMatchObject({ badIndex: -1 })
    const short = { bytes: bytes.subarray(0, 10 * stride - 1) }
    expect(thrownBy(() => native.rewriteFrames(short, run, 3, fd, 0, 0n)).code).toBe('ERR_CORRUPT')
  })
})

describe('applyFrames', () => {
  test.each([512, 4096, 65536])('equals what SQLite folds, pages of %d bytes', (pageSize) => {
    const directory = temporaryDirectory()
    const pair = new Pair(directory, { pageSize })
    const target = join(directory, 'applied.db')
    pair.primary.wal.foldSync('truncate')
    copyFileSync(pair.primary.path, target)
    const fd = openSync(target, 'r+')
    const { db } = pair.primary
    const apply = () => {
      const startFrameNo = pair.nextFrameNo
      const startChecksum = pair.checksum
      const bytes = pair.readFrames()
      const frameCount = bytes.byteLength / (24 + pageSize)
      const run: FrameRun = {
        frameCount,
        pageSize,
        startFrameNo,
        version: 3,
        fileStartChecksum: startChecksum,
        startChecksum,
      }
      let pageCount = 0
      for (const [, source] of sourcesOf(bytes)) pageCount = native.applyFrames(source, run, fd)
      expect(fstatSync(fd).size).toBe(pageCount * pageSize)
      expect(pageCount).toBe(pair.primary.wal.position().pageCount)
    }
    db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, text)')
    const insert = db.prepare("INSERT INTO t (text) VALUES (printf('%.2000c', 'x'))")
    for (let i = 0; i < 700; i++) insert.run()
    db.exec("UPDATE t SET text = 'short' WHERE id % 4 = 0")
    apply()
    db.exec('DELETE FROM t WHERE id > 100; VACUUM')
    for (let i = 0; i < 5; i++) insert.run()
    apply()
    closeSync(fd)
    pair.primary.wal.foldSync('truncate')
    expect(readFileSync(target).equals(readFileSync(pair.primary.path))).toBe(true)
    const applied = new Database(target)
    expect(applied.pragma('integrity_check', { simple: true })).toBe('ok')
    applied.close()
  })

  test('no frames leave the file as it is; a run that ends early or within a transaction is refused', () => {
    const { bytes, run } = makeRun(30, 3)
    const path = join(temporaryDirectory(), 'file')
    writeFileSync(path, Buffer.alloc(4 * pageSize, 1))
    const fd = openSync(path, 'r+')
    expect(native.applyFrames({ bytes }, { ...run, frameCount: 0 }, fd)).toBe(4)
    expect(thrownBy(() => native.applyFrames({ bytes }, { ...run, frameCount: 29 }, fd)).code).toBe(
      'ERR_CORRUPT',
    )
    expect(thrownBy(() => native.applyFrames({ bytes }, { ...run, frameCount: 31 }, fd)).code).toBe(
      'ERR_CORRUPT',
    )
    expect(readFileSync(path).equals(Buffer.alloc(4 * pageSize, 1))).toBe(true)
    closeSync(fd)
  })
})

describe('copyFile and copyFrames', () => {
  test.each([0, 1, 4096, 262_143, 262_145, 1_000_000])('copyFile of %d bytes', (byteLength) => {
    const directory = temporaryDirectory()
    const random = randomFrom(byteLength)
    const content = Uint8Array.from({ length: byteLength }, () => random() * 256)
    writeFileSync(join(directory, 'source'), content)
    const source = openSync(join(directory, 'source'), 'r')
    const target = openSync(join(directory, 'target'), 'w')
    expect(native.copyFile(source, target, byteLength)).toBe(native.crc64(content))
    expect(native.copyFile(source, -1, byteLength)).toBe(native.crc64(content))
    expect(readFileSync(join(directory, 'target')).equals(content)).toBe(true)
    expect(thrownBy(() => native.copyFile(source, -1, byteLength + 1)).code).toBe('ERR_CORRUPT')
    closeSync(source)
    closeSync(target)
  })

  test('readFrames, copyFrames and copyFramesSync give the same records', async () => {
    const directory = temporaryDirectory()
    const { db, wal } = openDatabase(join(directory, 'source.db'), { pageSize })
    db.exec('CREATE TABLE t (text)')
    const insert = db.prepare("INSERT INTO t VALUES (printf('%.2000c', 'x'))")
    for (let i = 0; i < 500; i++) insert.run()
    const { frameCount } = wal.position()
    const bytes = new Uint8Array((frameCount - 2) * stride)
    const checksum = wal.readFrames(bytes, 3, frameCount - 2, 100, 77n)
    expect(wal.readFrames(undefined, 3, frameCount - 2, 100, 77n)).toBe(checksum)
    const run: FrameRun = {
      frameCount: frameCount - 2,
      pageSize,
      startFrameNo: 100,
      version: 3,
      fileStartChecksum: 77n,
      startChecksum: 77n,
    }
    expect(native.checkFrames({ bytes }, run)).toMatchObject({ badIndex: -1, endChecksum: checksum })

    const fd = openSync(join(directory, 'records'), 'w+')
    writeSync(fd, 'before')
    expect(await wal.copyFrames(fd, 6, 3, frameCount - 2, 100, 77n)).toBe(checksum)
    expect(wal.copyFramesSync(fd, 6 + bytes.length, 3, frameCount - 2, 100, 77n)).toBe(checksum)
    const read = Buffer.alloc(6 + 2 * bytes.length)
    readSync(fd, read, 0, read.length, 0)
    expect(read.subarray(6, 6 + bytes.length).equals(bytes)).toBe(true)
    expect(read.subarray(6 + bytes.length).equals(bytes)).toBe(true)
    expect(wal.readFrames(new Uint8Array(), 1, 0, 0, 5n)).toBe(5n)
    expect(thrownBy(() => wal.readFrames(new Uint8Array(10), 1, 1, 0, 5n))).toBeInstanceOf(TypeError)
    closeSync(fd)
  })
})
