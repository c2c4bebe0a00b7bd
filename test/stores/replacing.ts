/** What every store promises about logs that take the place of others (src/main/stores/store.ts, replaceLog). */
import { compact, Log, Snapshot, type Store, type StoredLog } from 'mylibsql'
import { describe, expect, it } from 'vitest'
import { expectCode } from '../support/errors.js'
import { chain, logAt, type StoreUnderTest } from './contract.js'

/** Logs that follow on each other in a store, each of two frames, as they are read from it. */
async function appended(store: Store, logs: readonly Log[]): Promise<{ stored: StoredLog[]; read: Log[] }> {
  const stored: StoredLog[] = []
  const read: Log[] = []
  for (const log of logs) {
    const one = await store.append(log, 3)
    stored.push(one)
    read.push(await store.readLog(one))
  }
  return { stored, read }
}

export function describeReplacing(name: string, open: () => Promise<StoreUnderTest>): void {
  describe(`${name}: replacing logs`, () => {
    it('puts a merged log in the place of the first of those that it covers', async () => {
      const { store, reopen } = await open()
      const { stored, read } = await appended(store, await chain(4))
      const merged = await Log.merge(read.slice(0, 3))
      const replaced = await store.replaceLog(merged)
      expect(replaced).toMatchObject({ startFrameNo: 0 })
      await store.remove(stored.slice(1, 3))
      const other = await reopen()
      const list = await other.logs()
      expect(list[0]).toEqual(replaced)
      expect(list.map(({ startFrameNo }) => startFrameNo)).toEqual([0, 6])
      const log = await other.readLog(list[0]!)
      expect(log).toMatchObject({ startFrameNo: 0, nextFrameNo: 6, isMerged: true, epoch: 3 })
      expect(log.boundaries).toEqual(
        read.slice(1, 3).map(({ startFrameNo: frameNo, startChecksum: checksum }) => ({ frameNo, checksum })),
      )
      expect(Buffer.from(await log.bytes()).equals(await merged.bytes())).toBe(true)
      // The place is still taken.
      await expectCode(other.append(await logAt(0, { seed: 9 }), 4), 'ERR_FENCED')
      // And it can be replaced in its turn.
      const all = await Log.merge([log, read[3]!])
      await other.replaceLog(all)
      expect((await store.readLog((await store.logs())[0]!)).nextFrameNo).toBe(8)
    })

    it('recognises one that is there already: the answer was lost', async () => {
      const { store, reopen } = await open()
      const { read } = await appended(store, await chain(2))
      const merged = await Log.merge(read)
      const replaced = await store.replaceLog(merged)
      expect(await store.replaceLog(merged)).toEqual(replaced)
      expect(await (await reopen()).replaceLog(merged)).toEqual(replaced)
    })

    it('keeps a longer log, of two that compact', async () => {
      const { store, reopen } = await open()
      const { read } = await appended(store, await chain(3))
      const longer = await store.replaceLog(await Log.merge(read))
      const shorter = await Log.merge(read.slice(0, 2))
      await expectCode((await reopen()).replaceLog(shorter), 'ERR_LOG_GAP')
      expect((await store.logs())[0]).toEqual(longer)
    })

    it('keeps it also when both replace at once', async () => {
      const { store, reopen } = await open()
      const other = await reopen()
      const logs = await chain(36)
      const { read } = await appended(store, logs)
      for (let at = 0; at < logs.length; at += 3) {
        const [longer, shorter] = [
          await Log.merge(read.slice(at, at + 3)),
          await Log.merge(read.slice(at, at + 2)),
        ]
        const [left, right] = at % 2 === 0 ? [store, other] : [other, store]
        const outcomes = await Promise.allSettled([left.replaceLog(longer), right.replaceLog(shorter)])
        expect(outcomes[0].status).toBe('fulfilled')
        const list = await store.logs({ from: read[at]!.startFrameNo })
        const found = list.find(({ startFrameNo }) => startFrameNo === read[at]!.startFrameNo)!
        expect((await store.readLog(found)).nextFrameNo).toBe(longer.nextFrameNo)
      }
    })

    it('refuses a log of another history, one that forgets a boundary, and one without a place', async () => {
      const { store } = await open()
      const { stored, read } = await appended(store, await chain(3))
      const before = await store.logs()
      const others = [
        await Log.merge([await logAt(0, { seed: 7, frameCount: 6 })]),
        await Log.merge([await logAt(0, { startChecksum: 5n, frameCount: 6 })]),
        await logAt(0, { seed: 7, frameCount: 6 }),
        await logAt(0, { seed: 7 }),
      ]
      for (const other of others) {
        const error = await expectCode(store.replaceLog(other), 'ERR_LINEAGE')
        expect(error.message).toContain(stored[0]!.id)
      }
      await expectCode(store.replaceLog(await logAt(40)), 'ERR_NOT_FOUND')
      expect(await store.logs()).toEqual(before)
      const known = await Log.merge(read)
      await store.replaceLog(known)
      const whole = await logAt(0, { frameCount: 6 })
      await expectCode(store.replaceLog(whole), 'ERR_LINEAGE')
    })

    it('is compacted, by two at once too', async () => {
      const { store, reopen } = await open()
      const blank = await Snapshot.blank({ pageSize: 512 })
      await store.putSnapshot(blank)
      await blank.close()
      for (let epoch = 0; epoch < 3; epoch++) await store.claimEpoch('test')
      const logs = await chain(9)
      await appended(store, logs)
      const other = await reopen()
      const options = { keepMs: 0, spanMs: 1 }
      const results = await Promise.all([compact(store, options), compact(other, options)])
      expect(results.some(({ mergedCount }) => mergedCount === 1)).toBe(true)
      await compact(other, options)
      const list = await store.logs()
      expect(list.map(({ startFrameNo }) => startFrameNo)).toEqual([0, 16])
      const log = await store.readLog(list[0]!)
      expect(log).toMatchObject({ isMerged: true, nextFrameNo: 16, endChecksum: logs[7]!.endChecksum })
      expect(log.boundaries).toHaveLength(7)
      expect(await compact(store, options)).toMatchObject({ mergedCount: 0, removedCount: 0 })
    })

    it('removes nothing that has taken the place of what was to be removed', async () => {
      const { store, reopen } = await open()
      const { stored, read } = await appended(store, await chain(2))
      const replaced = await (await reopen()).replaceLog(await Log.merge(read))
      await store.remove(stored)
      expect(await store.logs()).toEqual([replaced])
    })
  })
}
