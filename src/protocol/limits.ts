/** Bounds and defaults of databases, with their units; stores have theirs beside them. Options override the ones that say so. */

/** Page sizes that SQLite knows, in bytes. */
export const pageSizeMinBytes = 512
export const pageSizeMaxBytes = 65_536
export const pageSizeDefaultBytes = 4096

/** SQLite's largest page number. */
export const pageNoMax = 0xffff_fffe

/** Bytes of frames not yet handed over in a saved log before writers are held (option `unsavedBytesMax`). */
export const unsavedBytesMaxDefault = 1024 * 1024 * 1024

/** Bytes sent to one Frames subscriber and not yet taken before writers are held (option `subscriberBytesMax`). */
export const subscriberBytesMaxDefault = 64 * 1024 * 1024

/** The actor is told how much was taken in parts of this share of the limit. */
export const creditShare = 1 / 16

/** Frames of at most this many bytes are copied to the main thread: that is quicker than to hand over their buffer. */
export const framesCopyBytesMax = 16 * 1024

/** Requests that may wait for the actor before `ready()` waits (option `requestsMax`). */
export const requestsMaxDefault = 65_536

/** Bytes of parameters of the requests that wait, likewise (option `requestBytesMax`). */
export const requestBytesMaxDefault = 64 * 1024 * 1024

/** How long a held writer waits before it is refused with ERR_BUSY (option `busyTimeoutMs`). */
export const busyTimeoutMsDefault = 30_000

/** Longest pause between two statements of an interactive connection (option `idleTimeoutMs`). */
export const idleTimeoutMsDefault = 30_000

/** How long close() waits for a saveLog that is still running (option `closeTimeoutMs`). */
export const closeTimeoutMsDefault = 5_000

/** How long a module of the application may take to be imported: it can wait at its top for what never comes. */
export const moduleTimeoutMs = 10_000

/** A log of at most this many bytes is handed over in memory, a larger one in a temporary file. */
export const logMemoryBytesMax = 1024 * 1024

/** The WAL is emptied when it has grown beyond this and all of its frames are copied out. */
export const walResetBytes = 16 * 1024 * 1024

/** What is left of the WAL is folded on the writer's own thread when it is at most this much, ... */
export const walTailBytesMax = 1024 * 1024

/** ... or, however much it is, when the WAL has grown beyond this: it is written to faster than it is folded. */
export const walForcedBytes = 48 * 1024 * 1024

/** A WAL beyond this that readers keep from being folded, one after the other, is folded in a gap between them ... */
export const readerGapWalBytes = 64 * 1024 * 1024

/** ... which waits so long for those under way, twice as long after each time that was not enough, half as long after others, */
export const readerGapMs = { min: 50, max: 1_600 }

/** ... for the end of an interactive transaction, which can be waiting for a read, so long, */
export const readerGapTransactionMs = 50

/** ... and is not made again before so many times as long as it took. */
export const readerGapPauses = 10

/** How long an actor that polls (option `spin`) does so for the next message before it sleeps. */
export const spinUs = 50

/** A message that wakes an actor at most this long after the one before, waking included, could have been polled for. */
export const pollSoonUs = 150

/** So many messages in a row have to come so soon, at most, before an actor polls again that did in vain. */
export const pollRetryMax = 256

/** How long it does so at most before the rest of its event loop has its turn. */
export const spinTurnMaxMs = 1

/** Rows that one chunk of iterate() carries. */
export const iterateChunkRows = 256

/** Prepared statements kept per connection. */
export const statementCacheSize = 256

/** Age of the oldest write that is not in the store at which logs are sent there (option `checkpoint.intervalMs`), ... */
export const archiveIntervalMsDefault = 100

/** ... or the bytes of frames that are not there yet (option `checkpoint.bytes`). */
export const archiveBytesDefault = 16 * 1024 * 1024

/** How long one attempt to store a log may take before it is given up and made again (option `checkpoint.timeoutMs`). */
export const archiveTimeoutMsDefault = 30_000

/** Pauses between attempts: the first one, doubled each time, and the longest one; some part of it is left to chance. */
export const archiveRetryMs = { min: 25, max: 2_000 }

/** While writes to a segment take no longer, an idle actor waits for them itself. */
export const tailQuickMs = 2

/** Logs come one after the other when they come within so long: then they go to a segment. */
export const tailPauseMs = 1_000

/** Logs of a store that a replica's thread applies in one step, at most, while nothing else can use it. */
export const stepLogsMax = 64
/** Logs of a store that such a thread, or a task thread, is told of in one message. */
export const offeredLogsMax = 1024
export const stepBytesMax = 8 * 1024 * 1024
/** Of a compressed log that it takes into memory whole, unpacked; larger ones are unpacked into a file before. */
export const unpackedLogBytesMax = 32 * 1024 * 1024

/**
 * Of a log that is compressed at once, in memory: where many wait for a processor, each step of a stream is one more wait.
 * Larger ones flow through.
 */
export const packedLogBytesMax = 16 * 1024 * 1024

/** A folder of logs is listed when none has come for so long where the next one should. */
export const folderQuietMs = 1_000

/** Larger logs have files of their own: to prepare the room would take the disk longer than a segment spares it. */
export const segmentLogBytesMax = 128 * 1024

/** Room that a segment of a FileStore has, the first one and at most: each is twice as large as the one before that was filled. */
export const segmentBytesMin = 256 * 1024
export const segmentBytesMax = 8 * 1024 * 1024

/** A primary that has not seen for so long that its epoch is the newest looks before it stores a log, not only after. */
export const epochFreshMs = 1_000

/** Without a log to store, it looks so long after the last time (option `checkpoint.fenceCheckMs`). */
export const fenceCheckMsDefault = 5_000

/** Bytes of logs since the last snapshot at which the next one is made (option `snapshot.everyBytes`). */
export const snapshotEveryBytesDefault = 256 * 1024 * 1024

/** Pause between two compactions of a primary's store (option `compaction.everyMs`). */
export const compactEveryMsDefault = 60_000

/** Pause between two prunings of it (option `retention.everyMs`). */
export const pruneEveryMsDefault = 3_600_000

/** How long one attempt to store a snapshot may take (option `snapshot.timeoutMs`). */
export const snapshotTimeoutMsDefault = 3_600_000

/** Pauses between attempts to make and store a snapshot, likewise. */
export const snapshotRetryMs = { min: 1_000, max: 60_000 }
