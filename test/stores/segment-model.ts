/**
 * Segments of a FileStore, as a state machine small enough to visit every state that it can reach: the argument of
 * docs/REPLICATION.md ("Segments"), checked by machine. A log is a letter, a history a string of letters, a frame number
 * an index in it; the lineage of a file is the whole history before it.
 *
 * What can happen at any time: a primary claims, says where the newest segment ends (looks, then creates the end), lists
 * (names, then contents, then ends and the epoch), writes a log into its segment or a file of its own, looks at the epoch,
 * gives its segment up and says where it ends, ends; readers list. All of it one step at a time, paused in between.
 */

interface File {
  readonly start: number
  /** The history that its first log continues. */
  readonly before: string
  readonly epoch: number
  /** The first log makes the file; those behind it make it a segment. */
  readonly logs: string
}

interface End {
  readonly start: number
  readonly epoch: number
  readonly next: number
}

/** What somebody has seen who is about to decide something by it. */
interface Look {
  readonly files: readonly File[]
}

interface Primary {
  readonly phase: 'idle' | 'claimed' | 'looked' | 'ended' | 'listing' | 'listed' | 'open' | 'put' | 'fenced'
  readonly epoch: number
  /** Opened, and acknowledged since. */
  readonly history: string
  readonly unsaved: string
  /** Start of the segment that it adds to. */
  readonly tail?: number
  /** Start of the one that it is about to end. */
  readonly ending?: number
  readonly look?: Look
  /** What was acknowledged, and told for good, when it claimed. */
  readonly due: readonly [string, string]
  readonly openCount: number
  readonly writeCount: number
}

interface Reader {
  readonly phase: 'idle' | 'scanned' | 'looked' | 'done'
  readonly look?: Look
  readonly due: readonly [string, string]
}

export interface SegmentState {
  readonly epoch: number
  /** By start. */
  readonly files: readonly File[]
  readonly ends: readonly End[]
  readonly primaries: readonly Primary[]
  readonly readers: readonly Reader[]
  readonly acknowledged: string
  /** The longest history that anybody was told to be there for good. */
  readonly told: string
  readonly problem?: string
}

/** What to leave out, to see that it was needed. */
export type BrokenSegments =
  | 'does not end segments'
  | 'looks at the newest segment before it claims'
  | 'opens though a newer epoch was claimed'
  | 'replaces ends'
  | 'ends segments of newer primaries'
  | 'takes what is in a segment though a newer epoch was claimed'
  | 'looks at the epoch before it puts a log'
  | 'goes on with a segment after a log elsewhere'
  | 'ends its segment while it adds to it'
  | 'takes logs behind the start of the next file'

export interface SegmentBounds {
  readonly primaryCount: number
  readonly openCountMax: number
  readonly writeCountsMax: readonly number[]
  readonly readerCount: number
  readonly broken?: BrokenSegments
}

const nobody: Primary = {
  phase: 'idle',
  epoch: 0,
  history: '',
  unsaved: '',
  due: ['', ''],
  openCount: 0,
  writeCount: 0,
}

export function initialSegments({ primaryCount, readerCount }: SegmentBounds): SegmentState {
  return {
    epoch: 0,
    files: [],
    ends: [],
    primaries: Array.from({ length: primaryCount }, () => nobody),
    readers: Array.from({ length: readerCount }, () => ({ phase: 'idle', due: ['', ''] }) as Reader),
    acknowledged: '',
    told: '',
  }
}

export function* segmentSteps(state: SegmentState, bounds: SegmentBounds): Generator<[string, SegmentState]> {
  for (let index = 0; index < state.primaries.length; index++) {
    for (const [name, next] of primarySteps(state, index, bounds)) yield [`${'ABC'[index]} ${name}`, next]
  }
  for (let index = 0; index < state.readers.length; index++) {
    for (const [name, next] of readerSteps(state, index, bounds)) yield [`reader ${index} ${name}`, next]
  }
}

/** Whoever claims now, undisturbed, finds what was acknowledged. */
export function segmentProblem(state: SegmentState, { broken }: SegmentBounds): string | undefined {
  if (state.problem !== undefined) return state.problem
  const newest = state.files.at(-1)
  const end = newest && endOf(state, newest)
  const history = chainOf(state.files, end?.next, broken)
  if (history === undefined) return 'there is a hole'
  return missing(history, [state.acknowledged, state.told])
}

function missing(history: string, [acknowledged, told]: readonly [string, string]): string | undefined {
  const kept = [...history].filter((log) => acknowledged.includes(log)).join('')
  if (kept !== acknowledged)
    return `acknowledged were ${acknowledged}, in the history are ${history || 'none'}`
  if (!history.startsWith(told))
    return `${told} was told to be there for good, there are ${history || 'none'}`
  return undefined
}

function* primarySteps(
  state: SegmentState,
  index: number,
  bounds: SegmentBounds,
): Generator<[string, SegmentState]> {
  const { broken } = bounds
  const primary = state.primaries[index]!
  const become = (change: Partial<Primary>, rest: Partial<SegmentState> = {}): SegmentState => ({
    ...state,
    ...rest,
    primaries: state.primaries.map((other, at) => (at === index ? { ...primary, ...change } : other)),
  })
  const newest = state.files.at(-1)
  switch (primary.phase) {
    case 'idle': {
      if (primary.openCount === bounds.openCountMax) return
      const epoch = state.epoch + 1
      const early =
        broken === 'looks at the newest segment before it claims' ? { look: { files: state.files } } : {}
      const due = [state.acknowledged, state.told] as const
      if (early.look !== undefined && primary.look === undefined) yield ['looks early', become(early)]
      else yield ['claims', become({ phase: 'claimed', epoch, due }, { epoch })]
      return
    }
    case 'claimed': {
      // One of a newer primary is not for this one to end.
      const isOlder = newest !== undefined && newest.epoch < primary.epoch
      const mayEnd = isOlder || broken === 'ends segments of newer primaries'
      const isEnded = newest === undefined || !mayEnd || endOf(state, newest) !== undefined
      if (isEnded || broken === 'does not end segments')
        yield ['has nothing to end', become({ phase: 'ended' })]
      else {
        const look = primary.look ?? { files: state.files }
        yield ['looks at the newest file', become({ phase: 'looked', look })]
      }
      break
    }
    case 'looked': {
      const { look: _look, ...rest } = primary
      const next = { ...rest, phase: 'ended' as const }
      const made = withEnd(state, primary.look!, broken)
      yield ['says where it ends', { ...made, primaries: replaced(state.primaries, index, next) }]
      break
    }
    case 'ended':
      yield ['scans', become({ phase: 'listing', look: { files: state.files } })]
      break
    case 'listing': {
      const { look: _look, ...rest } = primary
      const found = decide(state, primary.look!, broken)
      if (found.kind === 'end first') {
        yield ['has to end a segment first', become({ phase: 'claimed' })]
        break
      }
      const problem = found.history === undefined ? 'there is a hole' : missing(found.history, primary.due)
      const history = found.history ?? ''
      const opened = { ...rest, phase: 'listed' as const, history }
      const primaries = replaced(state.primaries, index, opened)
      yield ['lists', { ...state, primaries, ...(problem === undefined ? {} : { problem }) }]
      break
    }
    case 'listed': {
      // It may have listed logs of a newer primary: between those is no place for its own.
      const isNewest = state.epoch === primary.epoch || broken === 'opens though a newer epoch was claimed'
      if (isNewest) yield ['opens', become({ phase: 'open' })]
      else yield ['is fenced before it opens', become({ phase: 'fenced' })]
      break
    }
    case 'open':
      yield* openSteps(state, index, bounds, become)
      break
    case 'put': {
      const isNewest = broken === 'looks at the epoch before it puts a log' || state.epoch === primary.epoch
      const { history, unsaved } = primary
      const acknowledged = state.acknowledged + unsaved
      if (isNewest)
        yield [
          'acknowledges',
          become({ phase: 'open', history: history + unsaved, unsaved: '' }, { acknowledged }),
        ]
      else yield ['is fenced', become({ phase: 'fenced' })]
      break
    }
    case 'fenced':
      break
    default:
      primary.phase satisfies never
  }
  const { openCount, writeCount } = primary
  const dead = { ...nobody, openCount: openCount + 1, writeCount }
  yield ['ends', { ...state, primaries: replaced(state.primaries, index, dead) }]
}

function* openSteps(
  state: SegmentState,
  index: number,
  { broken, writeCountsMax }: SegmentBounds,
  become: (change: Partial<Primary>, rest?: Partial<SegmentState>) => SegmentState,
): Generator<[string, SegmentState]> {
  const primary = state.primaries[index]!
  const { tail, ending, history, unsaved, epoch } = primary
  const without = (key: 'tail' | 'ending' | 'look', change: Partial<Primary> = {}): Primary => {
    const { [key]: _left, ...rest } = primary
    return { ...rest, ...change }
  }
  const isTooLate = broken === 'looks at the epoch before it puts a log' && state.epoch !== epoch
  if (unsaved === '' && primary.writeCount < writeCountsMax[index]!) {
    const first = writeCountsMax.slice(0, index).reduce((sum, count) => sum + count, 0)
    const letter = 'abcdef'[first + primary.writeCount]!
    yield ['writes', become({ unsaved: letter, writeCount: primary.writeCount + 1 })]
  }
  if (unsaved !== '' && !isTooLate) {
    const file = state.files.find(({ start }) => start === tail)
    if (file !== undefined) {
      const grown = { ...file, logs: file.logs + unsaved }
      const files = state.files.map((other) => (other === file ? grown : other))
      yield ['adds it to its segment', become({ phase: 'put' }, { files })]
    }
    const isFree = state.files.every(({ start }) => start !== history.length)
    const made = { start: history.length, before: history, epoch, logs: unsaved }
    const files = [...state.files, made].sort((left, right) => left.start - right.start)
    const keeps = broken === 'goes on with a segment after a log elsewhere' && tail !== undefined
    const change = { phase: 'put' as const, tail: keeps ? tail : history.length }
    if (isFree) yield ['makes a file of it', become(change, { files })]
    else yield ['finds its place taken', become({ phase: 'fenced' })]
  }
  const mayEnd = unsaved === '' || broken === 'ends its segment while it adds to it'
  if (tail !== undefined && ending === undefined && mayEnd) {
    const givenUp = broken === 'ends its segment while it adds to it' ? primary : without('tail')
    const look = { files: state.files }
    const primaries = replaced(state.primaries, index, { ...givenUp, ending: tail, look })
    yield ['gives its segment up', { ...state, primaries }]
  }
  if (ending !== undefined) {
    const { look: _look, ...rest } = without('ending')
    const made = withEnd(state, primary.look!, broken)
    const isNewest = state.files.at(-1)?.start === ending
    const ended = isNewest ? made : state
    yield ['says where it ends', { ...ended, primaries: replaced(state.primaries, index, rest) }]
  }
}

function* readerSteps(
  state: SegmentState,
  index: number,
  { broken }: SegmentBounds,
): Generator<[string, SegmentState]> {
  const reader = state.readers[index]!
  const become = (next: Reader, rest: Partial<SegmentState> = {}): SegmentState => ({
    ...state,
    ...rest,
    readers: replaced(state.readers, index, next),
  })
  const { due } = reader
  switch (reader.phase) {
    case 'idle':
      yield [
        'scans',
        become({ phase: 'scanned', look: { files: state.files }, due: [state.acknowledged, state.told] }),
      ]
      return
    case 'scanned': {
      const found = decide(state, reader.look!, broken)
      // What it has seen by then is of before the claim: it looks again, at that file.
      const newestStart = reader.look!.files.at(-1)?.start ?? 0
      const files = state.files.filter(({ start }) => start <= newestStart)
      if (found.kind === 'end first') yield ['looks again', become({ phase: 'looked', look: { files }, due })]
      else if (found.history === undefined)
        yield ['finds a hole', become({ phase: 'done', due }, { problem: 'there is a hole' })]
      else {
        const { history } = found
        const problem = missing(history, due)
        const isComparable = history.startsWith(state.told) || state.told.startsWith(history)
        const differs = `${history || 'nothing'} is told, ${state.told} was`
        const told = history.length > state.told.length ? history : state.told
        const wrong = problem ?? (isComparable ? undefined : differs)
        yield [
          'is told',
          become({ phase: 'done', due }, { told, ...(wrong === undefined ? {} : { problem: wrong }) }),
        ]
      }
      return
    }
    case 'looked': {
      const made = withEnd(state, reader.look!, broken)
      yield [
        'says where it ends',
        { ...made, readers: replaced(state.readers, index, { phase: 'idle', due }) },
      ]
      return
    }
    case 'done':
      return
    default:
      reader.phase satisfies never
  }
}

/** What a listing comes to: ends and the epoch are looked at behind the files. */
function decide(
  state: SegmentState,
  { files }: Look,
  broken: BrokenSegments | undefined,
): { readonly kind: 'history'; readonly history: string | undefined } | { readonly kind: 'end first' } {
  const newest = files.at(-1)
  if (newest === undefined) return { kind: 'history', history: '' }
  const end = endOf(state, newest)
  const isDecided =
    end !== undefined ||
    newest.epoch === state.epoch ||
    broken === 'does not end segments' ||
    broken === 'takes what is in a segment though a newer epoch was claimed'
  if (!isDecided) return { kind: 'end first' }
  return { kind: 'history', history: chainOf(files, end?.next, broken) }
}

/** Undefined: there is a hole. */
function chainOf(
  files: readonly File[],
  endOfNewest: number | undefined,
  broken: BrokenSegments | undefined,
): string | undefined {
  let history = ''
  for (const [index, { start, before, logs }] of files.entries()) {
    if (start > history.length) return undefined
    if (start < history.length || before !== history) continue
    const nextStart =
      broken === 'takes logs behind the start of the next file' ? undefined : files[index + 1]?.start
    const end = nextStart ?? (index === files.length - 1 ? endOfNewest : undefined)
    history += end === undefined ? logs : logs.slice(0, end - start)
  }
  return history
}

function endOf({ ends }: SegmentState, { start, epoch }: File): End | undefined {
  return ends.find((end) => end.start === start && end.epoch === epoch)
}

/** Create-only. Says nothing of a file that is not the newest any more. */
function withEnd(state: SegmentState, { files }: Look, broken: BrokenSegments | undefined): SegmentState {
  const newest = files.at(-1)
  if (newest === undefined) return state
  const { start, epoch, logs } = newest
  const there = endOf(state, newest)
  if (there !== undefined && broken !== 'replaces ends') return state
  const others = state.ends.filter((end) => end !== there)
  return { ...state, ends: [...others, { start, epoch, next: start + logs.length }] }
}

function replaced<T>(list: readonly T[], index: number, next: T): T[] {
  return list.map((other, at) => (at === index ? next : other))
}
