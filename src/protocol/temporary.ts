/** Names of the directories for temporary files: `mylibsql-<pid>-<random>` with a lock file in each. */
export const temporaryDirectoryPrefix = 'mylibsql-'
export const lockFileName = 'lock'

/** The log that the primary with these log files is writing, and those that it has handed over, which start later each. */
export const openLogPath = (pathPrefix: string) => `${pathPrefix}open`
export const sealedLogPath = (pathPrefix: string, startFrameNo: number) => `${pathPrefix}${startFrameNo}`

/** A database, and what SQLite has beside it. */
export const databaseFiles = (path: string) => ['', '-wal', '-shm'].map((suffix) => `${path}${suffix}`)

/** Name for a file that is to become `path`. */
export const besides = (path: string) => `${path}.${crypto.randomUUID().slice(-12)}.tmp`
