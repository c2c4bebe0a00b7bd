/** Names of the directories for temporary files: `mylibsql-<pid>-<random>` with a lock file in each. */
export const temporaryDirectoryPrefix = 'mylibsql-'
export const lockFileName = 'lock'
