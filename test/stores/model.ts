/**
 * The rules by which primaries share a store, as a state machine small enough to visit every state it can reach: the
 * argument of docs/REPLICATION.md ("Archiving and fencing"), checked by machine. A write is a letter, a history a string
 * of letters, a frame number an index in it; the lineage of a log is the whole history before it.
 *
 * What can happen at any time: a primary claims, chooses a snapshot, lists, writes, sends a log, sends it again, asks for
 * the epoch, sends a snapshot, ends (whatever it was doing) and begins anew; a message takes place, its answer arriving
 * or not, long after its sender has given it up, too; the store is pruned; somebody compacts it (model-compaction.ts).
 */
import { Contents } from './contents.js'
import { type Chained, chainFrom, endOf, type Log, startOf } from './model-chain.js'
import { type Compactor, compactions, idleCompactor, withoutSnapshots } from './model-compaction.js'

interface Primary {
  readonly phase: 'idle' | 'claimed' | 'chosen' | 'open' | 'sending' | 'appended' | 'fenced'
  readonly epoch: number
  /** The snapshot that was chosen, then the history up to the last log that was acknowledged. */
  readonly history: string
  /** Written, and not acknowledged. */
  readonly unsaved: string
  readonly openCount: number
  readonly writeCount: number
  readonly snapshotCount: number
}

/** On its way to the store. `sender` and its `openCount` say who would get the answer. */
type Message =
  | { readonly log: Log; readonly sender: number; readonly openCount: number }
  | { readonly snapshot: string }
  /** Of this log; or, worse than stores are, of whatever log begins there when it takes place. */
  | { readonly removed: number | Log }

export interface State {
  readonly epoch: number
  /** By frame number. */
  readonly logs: readonly Log[]
  /** By length. */
  readonly snapshots: readonly string[]
  readonly messages: readonly Message[]
  readonly primaries: readonly Primary[]
  readonly compactors: readonly Compactor[]
  /** Frames that somebody prunes before: older snapshots are gone, the logs are not. */
  readonly pruned?: number | undefined
  /** In the order of acknowledgement. */
  readonly acknowledged: string
}

/** What is to be found in the store. */
export type Stored = Pick<State, 'epoch' | 'logs' | 'snapshots'>

/** What to leave out, to see that it was needed. */
export type Broken =
  | 'lists before it claims'
  | 'does not look at the epoch'
  | 'looks at the epoch before it appends'
  | 'overwrites logs'
  | 'goes on when it is fenced'
  | 'stores snapshots of unsaved writes'
  | 'ignores lineage'
  | 'prunes the newest log'
  | 'frees places of logs behind which the newest primary may be'
  | 'compacts the newest log'
  | 'replaces whatever begins there'
  | 'forgets where the log could be taken that it replaces'
  | 'does not look again before it removes'
  | 'removes what its own log covers though another one covers that'
  | 'takes any log that begins at its position'
  | 'prunes up to any snapshot'
  | 'removes remains that could be taken where nothing else can'
  | 'removes what its own log covers though that may be pruned'

export interface Bounds {
  readonly primaryCount: number
  readonly openCountMax: number
  /** Of each primary; or of the first, the second, ... */
  readonly writeCountMax: number | readonly number[]
  readonly snapshotCountMax: number
  /** Attempts to store the same log that are under way at the same time: all but one given up for late. */
  readonly copyCountMax: number
  /** How often each compactor begins; none by default. */
  readonly compactCountsMax?: readonly number[]
  /** Default: true. */
  readonly prunes?: boolean
  /** Snapshots also of a write that was the last but one in its log. */
  readonly hasEarlySnapshots?: boolean
  readonly broken?: Broken
}

const contents = new Contents()

const idle: Primary = {
  phase: 'idle',
  epoch: 0,
  history: '',
  unsaved: '',
  openCount: 0,
  writeCount: 0,
  snapshotCount: 0,
}

export function initialState({ primaryCount, compactCountsMax = [] }: Bounds): State {
  const primaries = Array.from({ length: primaryCount }, () => idle)
  const compactors = compactCountsMax.map(() => idleCompactor)
  return { epoch: 0, logs: [], snapshots: [''], messages: [], primaries, compactors, acknowledged: '' }
}

/** Every state that one step leads to, with the name of the step. */
export function* steps(state: State, bounds: Bounds): Generator<[string, State]> {
  for (let index = 0; index < state.primaries.length; index++) {
    for (const [name, next] of stepsOf(state, index, bounds)) yield [`${index} ${name}`, next]
  }
  for (const message of state.messages) yield* arrivals(state, message, bounds)
  for (let index = 0; index < state.compactors.length; index++) {
    for (const [name, next] of compactions(state, index, bounds)) yield [`compactor ${index} ${name}`, next]
  }
  if (bounds.prunes !== false) yield* prunes(state, bounds)
}

/**
 * What somebody who opens the store now finds, from the newest snapshot that he can go on from; an error when that is
 * nothing.
 */
export function historyOf(state: Stored, broken?: Broken): string | Error {
  const found = state.snapshots.map((snapshot) => openedFrom(state, snapshot, broken))
  const isUsable = (history: string | Error) => typeof history === 'string'
  return found.filter(isUsable).at(-1) ?? found.at(-1)!
}

/** The same from one of the snapshots. */
export function openedFrom(state: Stored, snapshot: string, broken?: Broken): string | Error {
  const { history, error } = chainFrom(snapshot, chained(state, true), broken)
  return error ?? history
}

/** What a replica comes to that has come so far: it applies one log after the other until it has to wait. */
export function followedFrom(state: Stored, position: string, broken?: Broken): string {
  return chainFrom(position, chained(state, false), broken).history
}

function chained({ logs, epoch, snapshots }: Stored, isKept: boolean): Chained {
  return { logs, epoch, snapshotLength: isKept ? 0 : snapshots.at(-1)!.length }
}

function* stepsOf(state: State, index: number, bounds: Bounds): Generator<[string, State]> {
  const primary = state.primaries[index]!
  const { broken } = bounds
  const become = (change: Partial<Primary>, rest: Partial<State> = {}): State => ({
    ...state,
    ...rest,
    primaries: state.primaries.map((other, at) => (at === index ? { ...primary, ...change } : other)),
  })
  const listsFirst = broken === 'lists before it claims'
  const choose = (): [string, State] => [
    'chooses a snapshot',
    become({ phase: 'chosen', history: state.snapshots.at(-1)! }),
  ]
  switch (primary.phase) {
    case 'idle': {
      if (primary.openCount === bounds.openCountMax) return
      const epoch = state.epoch + 1
      if (listsFirst) yield choose()
      else yield ['claims', become({ phase: 'claimed', epoch }, { epoch })]
      return
    }
    case 'claimed':
      if (listsFirst) {
        const epoch = state.epoch + 1
        yield ['claims', become({ phase: 'open', epoch }, { epoch })]
      } else yield choose()
      break
    case 'chosen': {
      const history = openedFrom(state, primary.history, broken)
      if (typeof history === 'string') {
        yield ['opens', become({ phase: listsFirst ? 'claimed' : 'open', history })]
        break
      }
      // Something was removed in between: planned again, or an older snapshot is tried. (What cannot be opened at all is
      // found by historyOf.)
      yield [history.message, become({ phase: listsFirst ? 'idle' : 'claimed' })]
      const older = state.snapshots.filter(({ length }) => length < primary.history.length).at(-1)
      if (older !== undefined) yield ['chooses an older snapshot', become({ history: older })]
      break
    }
    case 'open': {
      const counts = [bounds.writeCountMax].flat()
      if (primary.writeCount < (counts[index] ?? counts[0]!)) {
        const letter = String.fromCharCode(
          'abcdef'.charCodeAt(0) + index * Math.max(...counts) + primary.writeCount,
        )
        const change = { unsaved: primary.unsaved + letter, writeCount: primary.writeCount + 1 }
        yield ['writes', become(change)]
      }
      if (primary.unsaved !== '') {
        const isTooLate = broken === 'looks at the epoch before it appends' && state.epoch !== primary.epoch
        if (!isTooLate)
          yield [
            'sends a log',
            become({ phase: 'sending' }, { messages: sent(state, logOf(primary, index), bounds) }),
          ]
      }
      if (primary.snapshotCount < bounds.snapshotCountMax) {
        const unsaved = broken === 'stores snapshots of unsaved writes' ? primary.unsaved : ''
        const whole = primary.history + unsaved
        for (const snapshot of bounds.hasEarlySnapshots ? [whole, whole.slice(0, -1)] : [whole]) {
          const messages = sent(state, { snapshot }, bounds)
          const name = `sends a snapshot of ${snapshot || 'nothing'}`
          yield [name, become({ snapshotCount: primary.snapshotCount + 1 }, { messages })]
        }
      }
      break
    }
    case 'sending':
      yield ['sends the log again', { ...state, messages: sent(state, logOf(primary, index), bounds) }]
      break
    case 'appended': {
      const mayAcknowledge =
        broken === 'does not look at the epoch' ||
        broken === 'looks at the epoch before it appends' ||
        state.epoch === primary.epoch
      const { history, unsaved } = primary
      if (mayAcknowledge) {
        const acknowledged = state.acknowledged + unsaved
        yield [
          'acknowledges',
          become({ phase: 'open', history: history + unsaved, unsaved: '' }, { acknowledged }),
        ]
      } else if (broken === 'goes on when it is fenced') {
        yield [
          'goes on',
          become({ phase: 'open', history: history + unsaved, unsaved: '', epoch: state.epoch }),
        ]
      } else yield ['is fenced', become({ phase: 'fenced' })]
      break
    }
    case 'fenced':
      break
    default:
      primary.phase satisfies never
  }
  const { writeCount, snapshotCount, openCount } = primary
  yield ['ends', become({ ...idle, writeCount, snapshotCount, openCount: openCount + 1 })]
}

/** A message takes place: its answer comes, or is lost. */
function* arrivals(state: State, message: Message, { broken }: Bounds): Generator<[string, State]> {
  const messages = state.messages.filter((other) => other !== message)
  if ('snapshot' in message) {
    const snapshots = [...new Set([...state.snapshots, message.snapshot])]
    yield [
      'a snapshot arrives',
      { ...state, messages, snapshots: snapshots.sort((a, b) => a.length - b.length) },
    ]
    return
  }
  if ('removed' in message) {
    const { removed } = message
    const isIt = (log: Log) => (typeof removed === 'number' ? startOf(log) === removed : isSame(log, removed))
    const logs = state.logs.filter((log) => !isIt(log))
    const name = typeof removed === 'number' ? removed : startOf(removed)
    yield [`log ${name} is removed`, { ...state, messages, logs }]
    return
  }
  const { log, sender, openCount } = message
  const there = state.logs.find(({ before }) => before.length === log.before.length)
  const isOwn = isSame(there, log)
  const overwrites = there !== undefined && !isOwn && broken === 'overwrites logs'
  const others = overwrites ? state.logs.filter((other) => other !== there) : state.logs
  const logs = there === undefined || overwrites ? byStart([...others, log]) : state.logs
  const stored = { ...state, messages, logs }
  yield ['a log arrives, and its answer is lost', stored]
  const primary = state.primaries[sender]!
  const isAsked = primary.phase === 'sending' && primary.openCount === openCount
  // The answer to an attempt that was given up for another log is nobody's.
  if (!isAsked || primary.history !== log.before || primary.unsaved !== log.writes) return
  const phase = there === undefined || isOwn || overwrites ? ('appended' as const) : ('fenced' as const)
  const primaries = state.primaries.map((other, at) => (at === sender ? { ...primary, phase } : other))
  yield [`a log arrives, answer ${phase}`, { ...stored, primaries }]
}

/**
 * Snapshots before the newest one that the logs go on from; then the logs that end where it does or before: all but the
 * newest log. One in the midst of a log is none: who merges that log just now may not know of it.
 */
function* prunes(state: State, bounds: Bounds): Generator<[string, State]> {
  const { broken } = bounds
  if (state.pruned !== undefined) {
    const end = state.pruned
    const logs = broken === 'prunes the newest log' ? state.logs : state.logs.slice(0, -1)
    const old = logs.filter((log) => endOf(log) <= end)
    const messages = old.reduce(
      (list, log) => sent({ ...state, messages: list }, { removed: log }, bounds),
      state.messages,
    )
    yield ['prunes logs', { ...state, messages, pruned: undefined }]
    return
  }
  const isUsable = (snapshot: string) => {
    if (broken === 'prunes up to any snapshot') return true
    const isBetween = !state.logs.some((log) => isAcross(log, snapshot))
    return isBetween && typeof openedFrom(state, snapshot, broken) === 'string'
  }
  // The log that the newest one stands in the midst of gets a boundary there.
  const newest = state.snapshots.at(-1)!
  const across = state.logs.find((log) => log.boundaries === undefined && isAcross(log, newest))
  if (across !== undefined) {
    const pinned = { ...across, boundaries: [newest.length] }
    yield ['pins a snapshot', { ...state, logs: state.logs.map((log) => (log === across ? pinned : log)) }]
  }
  const anchor = state.snapshots.filter(isUsable).at(-1)
  if (anchor === undefined) return
  const snapshots = state.snapshots.filter(({ length }) => length >= anchor.length)
  const isPruned =
    state.logs.some((log) => endOf(log) <= anchor.length) || snapshots.length < state.snapshots.length
  const compactors = withoutSnapshots(state.compactors, anchor.length)
  if (isPruned) yield ['prunes snapshots', { ...state, snapshots, compactors, pruned: anchor.length }]
}

/** Whether it is of the same history and goes on across a place where it is not known that it may be taken. */
function isAcross(log: Log, snapshot: string): boolean {
  if (startOf(log) >= snapshot.length || endOf(log) <= snapshot.length) return false
  return (log.before + log.writes).startsWith(snapshot) && log.boundaries?.includes(snapshot.length) !== true
}

function logOf({ history, unsaved, epoch, openCount }: Primary, sender: number): Message {
  return { log: { before: history, writes: unsaved, epoch }, sender, openCount }
}

export function sent({ messages }: State, message: Message, { copyCountMax }: Bounds): readonly Message[] {
  const number = contents.numberOf(message)
  const numbers = messages.map((other) => contents.numberOf(other))
  if (numbers.filter((other) => other === number).length === copyCountMax) return messages
  // They are in order, whichever that is: states that hold the same messages are the same.
  const at = numbers.findIndex((other) => other > number)
  return at === -1 ? [...messages, message] : messages.toSpliced(at, 0, message)
}

export function isSame(left: Log | undefined, right: Log): boolean {
  return left !== undefined && contents.numberOf(left) === contents.numberOf(right)
}

export function byStart(logs: readonly Log[]): readonly Log[] {
  return [...logs].sort((a, b) => a.before.length - b.before.length)
}
