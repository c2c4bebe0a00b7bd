/** The addon by itself: committed frames out of one WAL and into another, 64 to a batch, in this thread. */

import { closeSync, openSync, writeSync } from 'node:fs'
import { native, WorkingDatabase } from '../dist/bench/parts.js'
import { Snapshot } from '../dist/main/index.js'
import { newPath } from './databases.mjs'
import { perSecond } from './harness.mjs'

const framesPerBatch = 64
const pageSize = 4096
const recordBytes = 24 + pageSize
const batchBytes = framesPerBatch * recordBytes

/** A working database as an actor opens it. */
async function openWorking(folder) {
  const snapshot = await Snapshot.blank()
  const database = new WorkingDatabase({
    source: { snapshot: snapshot.file, logs: [] },
    path: newPath(folder, '.db'),
    keepFiles: false,
    safeIntegers: false,
    busyTimeoutMs: 5000,
  })
  await snapshot.close()
  return database
}

/** Writes until the WAL has at least `frameCount` frames. */
function fillWal({ connection, wal }, frameCount) {
  connection.exec('CREATE TABLE pages (id INTEGER PRIMARY KEY, data BLOB NOT NULL)')
  const insert = connection.prepare('INSERT INTO pages (data) VALUES (randomblob(4000))')
  const insertMany = connection.transaction(() => {
    for (let row = 0; row < framesPerBatch; row += 1) insert.run()
  })
  while (wal.position().frameCount < frameCount) insertMany()
}

/**
 * Frames of the WAL as records, 64 to a run; each run is made to end with a commit, as the injector needs it, and the
 * checksum of that frame is made to match.
 */
function readBatches(wal, batchCount) {
  const { pageCount } = wal.position()
  let checksum = 0n
  return Array.from({ length: batchCount }, (_, batchNo) => {
    const bytes = new Uint8Array(batchBytes)
    const startFrameNo = batchNo * framesPerBatch
    const startChecksum = checksum
    wal.readFrames(bytes, startFrameNo + 1, framesPerBatch, startFrameNo, startChecksum)
    const view = new DataView(bytes.buffer)
    const last = batchBytes - recordBytes
    view.setUint32(last + 20, pageCount, true)
    const before = view.getBigUint64(last - recordBytes + 8, true)
    const withNumber = native.crc64(bytes.subarray(last, last + 8), before)
    checksum = native.crc64(bytes.subarray(last + 16), withNumber)
    view.setBigUint64(last + 8, checksum, true)
    const chain = { fileStartChecksum: startChecksum, startChecksum }
    return { bytes, run: { frameCount: framesPerBatch, pageSize, startFrameNo, version: 3, ...chain } }
  })
}

const read = {
  name: 'native.read',
  about: 'frames out of the WAL, checksums computed, 64 to a batch',
  reference: 'Buffer.copy of as many bytes',
  unit: 'GB/s',
  goal: { of: 'value', atLeast: 1 },
  async prepare({ folder, isQuick }) {
    const batchCount = isQuick ? 256 : 1024
    const database = await openWorking(folder)
    fillWal(database, batchCount * framesPerBatch)
    const target = Buffer.alloc(batchBytes)
    const source = Buffer.alloc(batchCount * batchBytes, 1)
    const gigabytes = (batchCount * batchBytes) / 1e9
    return {
      measure: () =>
        perSecond(gigabytes, () => {
          let checksum = 0n
          for (let frameNo = 0; frameNo < batchCount * framesPerBatch; frameNo += framesPerBatch)
            checksum = database.wal.readFrames(target, frameNo + 1, framesPerBatch, frameNo, checksum)
        }),
      measureReference: () =>
        perSecond(gigabytes, () => {
          for (let at = 0; at < source.length; at += batchBytes) source.copy(target, 0, at, at + batchBytes)
        }),
      close: () => database.close(),
    }
  },
}

const inject = {
  name: 'native.inject',
  about: 'frames checked, into the WAL and its index, published, 64 to a batch',
  reference: 'fs.writeSync of the same batches',
  unit: 'GB/s',
  goal: { of: 'value', atLeast: 0.7 },
  async prepare({ folder, isQuick }) {
    const batchCount = isQuick ? 128 : 512
    const origin = await openWorking(folder)
    fillWal(origin, batchCount * framesPerBatch)
    const batches = readBatches(origin.wal, batchCount)
    origin.close()
    const database = await openWorking(folder)
    const fd = openSync(newPath(folder, '.bin'), 'w')
    const gigabytes = (batchCount * batchBytes) / 1e9
    return {
      async measure() {
        const value = await perSecond(gigabytes, () => {
          for (const { bytes, run } of batches) {
            const { badIndex } = database.wal.inject({ bytes }, run)
            if (badIndex !== -1) throw new Error(`frame ${badIndex} is bad`)
          }
        })
        // The next round starts over at the beginning of the file, as the reference does.
        database.wal.foldSync('passive')
        return value
      },
      measureReference: () =>
        perSecond(gigabytes, () => {
          for (const [index, { bytes }] of batches.entries())
            writeSync(fd, bytes, 0, batchBytes, index * batchBytes)
        }),
      close() {
        closeSync(fd)
        database.close()
      },
    }
  },
}

export const benchmarks = [read, inject]
