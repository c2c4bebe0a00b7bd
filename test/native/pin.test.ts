import { join } from 'node:path'
import { expect, test } from 'vitest'
import { type Opened, openDatabase, temporaryDirectory, thrownBy } from './addon.js'

function openWithRows(): Opened & { insert(): void } {
  const opened = openDatabase(join(temporaryDirectory(), 'pin.db'))
  opened.db.exec('CREATE TABLE t (text)')
  const statement = opened.db.prepare("INSERT INTO t VALUES (printf('%.3000c', 'x'))")
  for (let i = 0; i < 20; i++) statement.run()
  return { ...opened, insert: () => void statement.run() }
}

test('SQLite resets a folded WAL at the next write unless it is pinned', () => {
  const { wal, insert } = openWithRows()
  const pin = wal.pin()
  const start = wal.position()
  expect(pin).toMatchObject({ holds: true, frameCount: start.frameCount })
  wal.foldSync('passive')
  expect(wal.position().foldedCount).toBe(start.frameCount)
  insert()
  expect(wal.position()).toMatchObject({ salt1: start.salt1, salt2: start.salt2 })
  expect(wal.position().frameCount).toBeGreaterThan(start.frameCount)

  pin.release()
  wal.foldSync('passive')
  insert()
  expect(wal.position().salt1).not.toBe(start.salt1)
  expect(wal.position().foldedCount).toBe(0)
})

test('nothing is folded beyond a pin', async () => {
  const { wal, insert } = openWithRows()
  const pin = wal.pin()
  insert()
  expect(await wal.fold()).toEqual({ frameCount: wal.position().frameCount, foldedCount: pin.frameCount })
  expect(thrownBy(() => wal.foldSync('truncate'))).toMatchObject({ code: 'SQLITE_BUSY', sqlite: true })
  pin.release()
  expect((await wal.fold()).foldedCount).toBe(wal.position().frameCount)
  expect(wal.foldSync('truncate')).toEqual({ frameCount: 0, foldedCount: 0 })
})

test('two pins at once; each holds until it is released, and release is idempotent', () => {
  const { wal, insert } = openWithRows()
  const first = wal.pin()
  insert()
  const second = wal.pin()
  insert()
  expect(second.frameCount).toBeGreaterThan(first.frameCount)
  expect(wal.foldSync('passive').foldedCount).toBe(first.frameCount)
  first.release()
  first.release()
  expect(wal.foldSync('passive').foldedCount).toBe(second.frameCount)
  second.release()
  expect(wal.foldSync('passive').foldedCount).toBe(wal.position().frameCount)
})

test('a WAL that is folded completely cannot be pinned, and the pin says so', () => {
  const { wal, insert } = openWithRows()
  wal.foldSync('passive')
  const pin = wal.pin()
  expect(pin).toMatchObject({ holds: false, frameCount: wal.position().frameCount })
  const { salt1 } = wal.position()
  insert()
  expect(wal.position().salt1).not.toBe(salt1)
  pin.release()
})

test('pins taken while a fold ends say the truth', async () => {
  const { wal, insert } = openWithRows()
  const seen = { holds: 0, open: 0 }
  for (let round = 0; round < 300; round++) {
    insert()
    const fold = wal.fold()
    if (round % 3 > 0) await new Promise(setImmediate)
    const pin = wal.pin()
    await fold
    const before = wal.position()
    insert()
    const isReset = wal.position().salt1 !== before.salt1
    if (pin.holds) expect(isReset, `round ${round}`).toBe(false)
    seen[pin.holds ? 'holds' : 'open']++
    pin.release()
  }
  expect(seen.holds + seen.open).toBe(300)
})

test('frames of before a reset are not read', () => {
  const { wal, insert } = openWithRows()
  const { frameCount } = wal.position()
  expect(thrownBy(() => wal.readFrames(undefined, 1, frameCount + 1, 0, 0n)).code).toBe('ERR_WAL_RESET')
  wal.foldSync('passive')
  insert()
  expect(wal.position().frameCount).toBeLessThan(frameCount)
  expect(thrownBy(() => wal.readFrames(undefined, 1, frameCount, 0, 0n)).code).toBe('ERR_WAL_RESET')
})
