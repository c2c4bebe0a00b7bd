import { copyFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { describe, expect, test } from 'vitest'
import { loadAddon, openDatabase, Pair, temporaryDirectory } from './addon.js'

const headerBytes = 32

/** Rewrites a WAL in place so that its checksums take words in that byte order (sqlite.org/walformat.html). */
function rewriteWal(path: string, isBigEndian: boolean): void {
  const bytes = readFileSync(path)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let [first, second] = [0, 0]
  const sum = (start: number, end: number) => {
    for (let at = start; at < end; at += 8) {
      first = (first + view.getUint32(at, !isBigEndian) + second) >>> 0
      second = (second + view.getUint32(at + 4, !isBigEndian) + first) >>> 0
    }
  }
  view.setUint32(0, isBigEndian ? 0x377f0683 : 0x377f0682)
  sum(0, 24)
  view.setUint32(24, first)
  view.setUint32(28, second)
  const frameBytes = view.getUint32(8) + 24
  for (let at = headerBytes; at + frameBytes <= bytes.byteLength; at += frameBytes) {
    sum(at, at + 8)
    sum(at + 24, at + frameBytes)
    view.setUint32(at + 16, first)
    view.setUint32(at + 20, second)
  }
  writeFileSync(path, bytes)
}

describe.each([
  ['big-endian', true],
  ['little-endian', false],
])('a WAL with %s checksums', (_, isBigEndian) => {
  test.each([512, 4096, 65536])('is recovered and appended to, pages of %d bytes', (pageSize) => {
    const directory = temporaryDirectory()
    const pair = new Pair(directory, { pageSize })
    const { primary } = pair
    primary.db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)')
    const insert = primary.db.prepare("INSERT INTO t (text) VALUES (printf('%.1000c', 'x'))")
    for (let i = 0; i < 20; i++) insert.run()
    pair.ship()
    pair.replica.db.close()
    rewriteWal(`${pair.replica.path}-wal`, isBigEndian)
    rmSync(`${pair.replica.path}-shm`, { force: true })

    const replica = openDatabase(pair.replica.path, { pageSize })
    expect(replica.db.prepare('SELECT count(*) FROM t').pluck().get()).toBe(20)
    for (let i = 0; i < 20; i++) {
      insert.run()
      const { bytes, run } = pair.readRun()
      expect(replica.wal.inject({ bytes }, run)).toMatchObject({ badIndex: -1 })
    }
    expect(readFileSync(`${replica.path}-wal`).readUInt32BE(0)).toBe(isBigEndian ? 0x377f0683 : 0x377f0682)

    // The checksums of all of it, by SQLite's recovery.
    const path = join(directory, 'recovered.db')
    copyFileSync(replica.path, path)
    copyFileSync(`${replica.path}-wal`, `${path}-wal`)
    const recovered = new Database(path)
    expect(recovered.prepare('SELECT count(*) FROM t').pluck().get()).toBe(40)
    const wal = loadAddon(recovered)
    expect(wal.position().frameCount).toBe(replica.wal.position().frameCount)
    recovered.close()

    replica.wal.foldSync('truncate')
    primary.wal.foldSync('truncate')
    expect(replica.db.pragma('integrity_check', { simple: true })).toBe('ok')
    expect(readFileSync(replica.path).equals(readFileSync(primary.path))).toBe(true)
  })
})
