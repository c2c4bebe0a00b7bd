/** Which logs of a store belong together: nothing is read or changed here. */
import { MylibsqlError } from '../../protocol/errors.js'
import type { FrameNo } from '../../protocol/frame.js'
import type { LogFacts } from './log-facts.js'
import type { StoredLog } from './store.js'

export interface CompactionRules {
  /** The newest, asked for after the logs were listed. */
  readonly epoch: number
  /** Behind the oldest snapshot. */
  readonly firstFrameNo: FrameNo
  /** Logs that were sealed before this are merged. */
  readonly beforeMs: number
  readonly spanMs: number
  readonly maxBytes: number
}

export interface CompactionPlan {
  /** Logs that follow on each other, to be merged. */
  readonly groups: readonly (readonly LogFacts[])[]
  /** Merged logs, and what lies inside them for nothing. */
  readonly remains: readonly { readonly cover: LogFacts; readonly logs: readonly LogFacts[] }[]
}

/**
 * Throws, naming the object: ERR_LOG_GAP for a hole in the chain, ERR_LINEAGE and ERR_PAGE_SIZE for a log of another
 * history, ERR_LINEAGE also for one that begins in the midst of another one.
 */
export function planCompaction(logs: readonly LogFacts[], rules: CompactionRules): CompactionPlan {
  const chain = chainOf(logs, rules)
  return { groups: groupsOf(chain, rules), remains: remainsOf(logs, chain, rules) }
}

/** As HistoryChain reads it, from the oldest snapshot on. */
function chainOf(logs: readonly LogFacts[], { epoch, firstFrameNo }: CompactionRules): LogFacts[] {
  const last = logs.at(-1)
  const byStart = new Map(logs.map((log) => [log.startFrameNo, log]))
  const isContinued = (log: LogFacts) => byStart.get(log.nextFrameNo)?.startChecksum === log.endChecksum
  const covering = (frameNo: FrameNo, checksum: bigint | undefined) =>
    logs.find((log) => {
      if (log.startFrameNo >= frameNo || log.nextFrameNo <= frameNo) return false
      if (!log.isMerged) return checksum === undefined
      return log.boundaries.some((at) => at.frameNo === frameNo && (checksum ?? at.checksum) === at.checksum)
    })
  const chain: LogFacts[] = []
  let checksum: bigint | undefined
  for (let frameNo = firstFrameNo; ; ) {
    const found = byStart.get(frameNo)
    if (found !== undefined) check(found, chain.at(-1))
    // A log of an older epoch that nothing continues may be a late one, at a place that a merged log has now.
    const isSure = found !== undefined && (found.epoch >= epoch || found === last || isContinued(found))
    const next = isSure ? found : (covering(frameNo, checksum) ?? found)
    if (next === undefined) {
      const later = logs.find(({ startFrameNo }) => startFrameNo > frameNo)
      if (later === undefined) return chain
      throw gap(frameNo, later.stored)
    }
    chain.push(next)
    frameNo = next.nextFrameNo
    checksum = next.endChecksum
  }
}

function groupsOf(chain: readonly LogFacts[], rules: CompactionRules): LogFacts[][] {
  const { epoch, firstFrameNo, beforeMs, spanMs, maxBytes } = rules
  // A place may become free only where the newest primary has gone beyond it: an older one that appends there, late, finds
  // that it is fenced. The newest log stays, so that whoever lists logs sees that there are some.
  const end = Math.min(chain.map((log) => log.epoch).lastIndexOf(epoch) + 1, chain.length - 1)
  const windowOf = ({ createdAtMs }: LogFacts) => Math.floor(createdAtMs / spanMs)
  const groups: LogFacts[][] = []
  let byteCount = 0
  for (const [index, log] of chain.slice(0, Math.max(0, end)).entries()) {
    const before = groups.at(-1)?.at(-1)
    const isComplete = (windowOf(log) + 1) * spanMs <= beforeMs
    // One that another log covers may be removed by whoever wrote that one.
    const isFree =
      log.startFrameNo >= firstFrameNo && (chain[index - 1]?.nextFrameNo ?? 0) <= log.startFrameNo
    if (!isComplete || !isFree || log.stored.isOpen === true) {
      groups.push([])
      continue
    }
    const isNext =
      before?.nextFrameNo === log.startFrameNo &&
      before.epoch === log.epoch &&
      windowOf(before) === windowOf(log) &&
      byteCount + log.stored.byteLength <= maxBytes
    byteCount = isNext ? byteCount + log.stored.byteLength : log.stored.byteLength
    if (isNext) groups.at(-1)!.push(log)
    else groups.push([log])
  }
  return groups.filter(({ length }) => length > 1)
}

/** What an earlier compaction was to remove, and what was appended there since, late. */
function remainsOf(
  logs: readonly LogFacts[],
  chain: readonly LogFacts[],
  { firstFrameNo }: CompactionRules,
): CompactionPlan['remains'] {
  const remains = new Map<LogFacts, LogFacts[]>()
  const ofChain = new Set(chain)
  for (const log of logs) {
    if (log.startFrameNo < firstFrameNo || ofChain.has(log)) continue
    const cover = chain.find(
      ({ startFrameNo, nextFrameNo }) => startFrameNo < log.startFrameNo && nextFrameNo > log.startFrameNo,
    )
    if (cover?.isMerged !== true) throw stray(log)
    // Whoever merged logs that go on further may be about to remove those: his one stays. So does one that can be taken
    // where the other one cannot.
    if (!log.isMerged || isWithin(log, cover)) {
      const list = remains.get(cover)
      if (list === undefined) remains.set(cover, [log])
      else list.push(log)
    }
  }
  return [...remains].map(([cover, list]) => ({ cover, logs: list }))
}

function isWithin({ nextFrameNo, boundaries }: LogFacts, cover: LogFacts): boolean {
  const known = new Set(cover.boundaries.map(({ frameNo }) => frameNo))
  return nextFrameNo <= cover.nextFrameNo && boundaries.every(({ frameNo }) => known.has(frameNo))
}

function check({ stored, startChecksum, pageSize }: LogFacts, before: LogFacts | undefined): void {
  if (before === undefined) return
  if (pageSize !== before.pageSize) {
    const message = `${stored.id} has pages of ${pageSize} bytes, the history before it of ${before.pageSize}`
    const details = { path: stored.id, expected: before.pageSize, actual: pageSize }
    throw new MylibsqlError('ERR_PAGE_SIZE', message, details)
  }
  if (startChecksum === before.endChecksum) return
  const message = `${stored.id} belongs to another history than ${before.stored.id}, which comes before it`
  throw new MylibsqlError('ERR_LINEAGE', message, { path: stored.id, frameNo: stored.startFrameNo })
}

function gap(frameNo: FrameNo, { id }: StoredLog): MylibsqlError {
  const message = `Frame ${frameNo} is in no log of the history: it goes on with ${id}. Nothing is merged`
  return new MylibsqlError('ERR_LOG_GAP', message, { path: id, expected: frameNo })
}

function stray({ stored, startFrameNo }: LogFacts): MylibsqlError {
  const message = `${stored.id} is no part of the history: it begins in the midst of another log. Nothing is merged`
  return new MylibsqlError('ERR_LINEAGE', message, { path: stored.id, frameNo: startFrameNo })
}
