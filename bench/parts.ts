/** Parts of an actor thread that are measured by themselves. */
export { Capture } from '../src/worker/capture.js'
export { native } from '../src/worker/native.js'
export { ReaderGap } from '../src/worker/reader-gap.js'
export { WalKeeper } from '../src/worker/wal-keeper.js'
export { WorkingDatabase } from '../src/worker/working-database.js'
