/** A writer that stores one log after the other, as archiving does, and what has to hold afterwards. */
import { setTimeout as delay } from 'node:timers/promises'
import { type Log, MylibsqlError, type Store } from 'mylibsql'
import { expect } from 'vitest'
import { logAt } from '../stores/contract.js'

export interface Acknowledged {
  readonly startFrameNo: number
  readonly endChecksum: bigint
}

/** Appends until `isOver`, and tries again what the store could not take. What was acknowledged is added to the list. */
export async function writeUntil(
  store: Store,
  epoch: number,
  isOver: () => boolean,
  acknowledged: Acknowledged[] = [],
  frameCountOf = (_index: number) => 2,
): Promise<Acknowledged[]> {
  let last: Log | undefined
  while (!isOver()) {
    const log = await logAt(last?.nextFrameNo ?? 0, {
      startChecksum: last?.endChecksum ?? 0n,
      seed: acknowledged.length,
      frameCount: frameCountOf(acknowledged.length),
    })
    await appendPatiently(store, log, epoch)
    acknowledged.push({ startFrameNo: log.startFrameNo, endChecksum: log.endChecksum })
    last = log
  }
  return acknowledged
}

/** Adds the start frames that a follow gives to the list; one that ends with ERR_STORE is begun anew. */
export async function followPatiently(store: Store, signal: AbortSignal, seen: number[]): Promise<void> {
  while (!signal.aborted) {
    try {
      const from = (seen.at(-1) ?? -1) + 1
      for await (const { startFrameNo } of store.follow(from, { signal })) seen.push(startFrameNo)
    } catch (error) {
      if (!(error instanceof MylibsqlError) || error.code !== 'ERR_STORE') throw error
    }
  }
}

async function appendPatiently(store: Store, log: Log, epoch: number): Promise<void> {
  for (;;) {
    try {
      await store.append(log, epoch)
      return
    } catch (error) {
      if (!(error instanceof MylibsqlError) || error.code !== 'ERR_STORE') throw error
      await delay(50)
    }
  }
}

/** Fails unless the store holds exactly what was acknowledged, in order and once. */
export async function expectHolds(store: Store, acknowledged: readonly Acknowledged[]): Promise<void> {
  const list = await store.logs()
  expect(list.map(({ startFrameNo }) => startFrameNo)).toEqual(acknowledged.map((one) => one.startFrameNo))
  const logs = await Promise.all(list.map((stored) => store.readLog(stored)))
  expect(logs.map(({ endChecksum }) => endChecksum)).toEqual(acknowledged.map((one) => one.endChecksum))
}
