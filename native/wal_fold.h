#pragma once
// A fold of the WAL into the database file.

#include "wal_file.h"

namespace mylibsql {

struct FoldResult {
  uint32_t frameCount;
  uint32_t foldedCount;
};

// What sqlite3_wal_checkpoint_v2 does with SQLITE_CHECKPOINT_PASSIVE, through a connection without a transaction
// that has opened its WAL: folds what readers do not keep from it, and waits for nobody. Throws SQLITE_BUSY when
// somebody else folds, SQLITE_INTERRUPT when the connection is interrupted, what SQLite's VFS says, ERR_IO. Then
// what was written counts for nothing.
FoldResult foldWal(const SqliteHandle& handle, const WalFile& wal);

}  // namespace mylibsql
