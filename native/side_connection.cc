#include "side_connection.h"

#include "failure.h"
#include "wal_index.h"

namespace mylibsql {

SideConnection::SideConnection(const sqlite3_api_routines* api, const std::string& path) {
  handle_.api = api;
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  const int result = api->open_v2(path.c_str(), &handle_.db, flags, nullptr);
  try {
    if (result != SQLITE_OK) throw sqliteFailure(handle_, result, "opening a second connection");
    handle_.requireWritable();
    api->busy_timeout(handle_.db, 0);
    // The last connection to close must not fold the WAL, nor may a commit.
    api->db_config(handle_.db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
    api->wal_autocheckpoint(handle_.db, 0);
    // A fold without fsync: what has to survive a crash of the machine is in the saved logs.
    handle_.execute("PRAGMA synchronous = OFF; PRAGMA cache_size = 16", "preparing a second connection");
    // SQLite opens the WAL with the first read; until then a checkpoint would be a silent no-op.
    handle_.execute("PRAGMA schema_version", "opening the WAL on a second connection");
  } catch (...) {
    api->close_v2(handle_.db);
    throw;
  }
}

SideConnection::~SideConnection() { handle_.api->close_v2(handle_.db); }

// Which read lock SQLite took is not told, so it is concluded from what was true before and after. Only the
// write lock changes the header, so one header seen on both sides stood for the whole time, and nBackfill,
// which a fold on another thread may raise meanwhile, only grows:
//   folded completely before: it was when SQLite looked. Read lock 0, nothing is held.
//   not folded completely after: nor was it when SQLite looked. A read mark, the WAL is held.
//   the fold finished in between: either. Begin again, which now finds it folded.
// The count from before is also the one to read pages by: a checkpointer that raised it knew no newer header
// (see the comment on minFrame in walTryBeginRead()).
ReadTransaction SideConnection::beginRead() {
  constexpr int kAttemptCount = 1000;
  for (int attempt = 0; attempt < kAttemptCount; attempt++) {
    WalIndex index(handle_);
    const WalState before = index.read();
    handle_.execute("BEGIN", "beginning a read transaction");
    try {
      handle_.execute("PRAGMA schema_version", "beginning a read transaction");
      const WalState after = index.read();
      if (after.header == before.header) {
        const uint32_t frameCount = before.header.frameCount;
        if (before.foldedCount == frameCount) return {before, false};
        if (after.foldedCount < frameCount) return {before, true};
      }
    } catch (...) {
      endRead();
      throw;
    }
    endRead();
  }
  Failure failure("SQLITE_BUSY", "the WAL is written all the time, by something that is not mylibsql");
  failure.fromSqlite = true;
  throw failure;
}

void SideConnection::endRead() { handle_.api->exec(handle_.db, "ROLLBACK", nullptr, nullptr, nullptr); }

FoldResult SideConnection::foldAndTruncate() {
  int frameCount = 0;
  int foldedCount = 0;
  const int result = handle_.api->wal_checkpoint_v2(handle_.db, "main", SQLITE_CHECKPOINT_TRUNCATE, &frameCount,
                                                    &foldedCount);
  if (result != SQLITE_OK) throw sqliteFailure(handle_, result, "folding the WAL");
  return {static_cast<uint32_t>(frameCount), static_cast<uint32_t>(foldedCount)};
}

bool SideConnection::tryLockReaders() {
  sqlite3_file* const file = handle_.databaseFile();
  const int result =
      file->pMethods->xShmLock(file, kWalReaderLock, kWalReaderCount, SQLITE_SHM_LOCK | SQLITE_SHM_EXCLUSIVE);
  if (result == SQLITE_OK) return true;
  if ((result & 0xff) == SQLITE_BUSY) return false;
  throw sqliteFailure(handle_, result, "locking out readers of the WAL");
}

void SideConnection::unlockReaders() {
  sqlite3_file* const file = handle_.databaseFile();
  file->pMethods->xShmLock(file, kWalReaderLock, kWalReaderCount, SQLITE_SHM_UNLOCK | SQLITE_SHM_EXCLUSIVE);
}

}  // namespace mylibsql
