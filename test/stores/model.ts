/**
 * The rules by which primaries share a store, as a state machine small enough to visit every state it can reach: the
 * argument of docs/REPLICATION.md ("Archiving and fencing"), checked by machine. A write is a letter, a history a string
 * of letters, a frame number an index in it; the lineage of a log is the whole history before it.
 *
 * What can happen at any time: a primary claims, chooses a snapshot, lists, writes, sends a log, sends it again, asks for
 * the epoch, sends a snapshot, ends (whatever it was doing) and begins anew; a message takes place, its answer arriving
 * or not, long after its sender has given it up, too; the store is pruned.
 */

interface Log {
  readonly before: string
  readonly writes: string
  readonly epoch: number
}

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

export interface State {
  readonly epoch: number
  /** By frame number. */
  readonly logs: readonly Log[]
  /** By length. */
  readonly snapshots: readonly string[]
  readonly messages: readonly Message[]
  readonly primaries: readonly Primary[]
  /** In the order of acknowledgement. */
  readonly acknowledged: string
}

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

export interface Bounds {
  readonly primaryCount: number
  readonly openCountMax: number
  readonly writeCountMax: number
  readonly snapshotCountMax: number
  /** Attempts to store the same log that are under way at the same time: all but one given up for late. */
  readonly copyCountMax: number
  readonly broken?: Broken
}

const idle: Primary = {
  phase: 'idle',
  epoch: 0,
  history: '',
  unsaved: '',
  openCount: 0,
  writeCount: 0,
  snapshotCount: 0,
}

export function initialState({ primaryCount }: Bounds): State {
  const primaries = Array.from({ length: primaryCount }, () => idle)
  return { epoch: 0, logs: [], snapshots: [''], messages: [], primaries, acknowledged: '' }
}

/** Every state that one step leads to, with the name of the step. */
export function* steps(state: State, bounds: Bounds): Generator<[string, State]> {
  for (let index = 0; index < state.primaries.length; index++) {
    for (const [name, next] of stepsOf(state, index, bounds)) yield [`${index} ${name}`, next]
  }
  for (const message of state.messages) yield* arrivals(state, message, bounds)
  const pruned = prune(state, bounds)
  if (pruned !== undefined) yield ['prune', pruned]
}

/** What somebody who opens the store now finds; an error when that is nothing. */
export function historyOf(state: State, broken?: Broken): string | Error {
  return chainFrom(state.snapshots.at(-1)!, state.logs, broken)
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
      const history = chainFrom(primary.history, state.logs, broken)
      // Something was pruned in between: planned again. (What cannot be opened at all is found by historyOf.)
      if (typeof history !== 'string')
        yield [history.message, become({ phase: listsFirst ? 'idle' : 'claimed' })]
      else yield ['opens', become({ phase: listsFirst ? 'claimed' : 'open', history })]
      break
    }
    case 'open': {
      if (primary.writeCount < bounds.writeCountMax) {
        const letter = String.fromCharCode(
          'abcdef'.charCodeAt(0) + index * bounds.writeCountMax + primary.writeCount,
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
        const messages = sent(state, { snapshot: primary.history + unsaved }, bounds)
        yield ['sends a snapshot', become({ snapshotCount: primary.snapshotCount + 1 }, { messages })]
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
  const { log, sender, openCount } = message
  const there = state.logs.find(({ before }) => before.length === log.before.length)
  const isOwn = there !== undefined && JSON.stringify(there) === JSON.stringify(log)
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

/** Snapshots before the newest one, and the logs that end where it does or before: all but the newest log. */
function prune(state: State, { broken }: Bounds): State | undefined {
  const newest = state.snapshots.at(-1)!
  const isNeeded = ({ before, writes }: Log, index: number) =>
    before.length + writes.length > newest.length ||
    (index === state.logs.length - 1 && broken !== 'prunes the newest log')
  const logs = state.logs.filter(isNeeded)
  const isPruned = logs.length < state.logs.length || state.snapshots.length > 1
  return isPruned ? { ...state, logs, snapshots: [newest] } : undefined
}

function chainFrom(snapshot: string, logs: readonly Log[], broken: Broken | undefined): string | Error {
  const fits = ({ before }: Log, history: string) => before === history || broken === 'ignores lineage'
  let history = snapshot
  const covering = logs.find(({ before, writes }) => {
    const isAcross = before.length < snapshot.length && before.length + writes.length > snapshot.length
    return isAcross && (broken === 'ignores lineage' || (before + writes).startsWith(snapshot))
  })
  if (covering !== undefined) history = snapshot + (covering.before + covering.writes).slice(snapshot.length)
  for (;;) {
    const { length } = history
    const next = logs.find(({ before }) => before.length === length)
    if (next !== undefined && !fits(next, history)) return new Error('a log is of another history')
    if (next === undefined) {
      return logs.some(({ before }) => before.length > length) ? new Error('logs are missing') : history
    }
    history += next.writes
  }
}

function logOf({ history, unsaved, epoch, openCount }: Primary, sender: number): Message {
  return { log: { before: history, writes: unsaved, epoch }, sender, openCount }
}

function sent({ messages }: State, message: Message, { copyCountMax }: Bounds): readonly Message[] {
  const text = JSON.stringify(message)
  const texts = messages.map((other) => JSON.stringify(other))
  if (texts.filter((other) => other === text).length === copyCountMax) return messages
  return [...messages, message].sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1))
}

function byStart(logs: readonly Log[]): readonly Log[] {
  return [...logs].sort((a, b) => a.before.length - b.before.length)
}
