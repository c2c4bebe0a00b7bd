#pragma once
// What the one writer does otherwise about the locks of its WAL. For this the methods of its database file are replaced by
// a copy of them of which the one for locks passes through here.
//
// The write lock is held from the first transaction on. SQLite takes it for each one and gives it back: two system
// calls, and between them anybody may write. Now others get SQLITE_BUSY whenever they come; they can read, and fold what is
// committed. SQLite needs the lock for two things besides: to rebuild a wal-index whose header is not valid (others meet such a
// header only in the moment when it is written, and try again), and to truncate the WAL in a checkpoint, before which it has
// to be released.
//
// The locks of the readers that use the WAL, all of them together, SQLite takes to start it over when all of it is folded,
// and appends to it when it does not get them (walRestartLog() in wal.c). It does not get them while the WAL has frames
// that nothing else holds: whoever has folded them.

#include <cstdint>
#include <optional>

#include "sqlite_handle.h"

namespace mylibsql {

class WriterLocks : private sqlite3_io_methods {
 public:
  // The connection is in WAL mode and stays in it. `frameCount`: of the WAL after the last commit.
  WriterLocks(const SqliteHandle& handle, const uint32_t& frameCount);
  ~WriterLocks();
  WriterLocks(const WriterLocks&) = delete;
  WriterLocks& operator=(const WriterLocks&) = delete;

  // Lets others write until the next transaction; during one it does nothing.
  void releaseWriteLock();
  // From now on the WAL is started over only when it has no more than so many frames, none once that has happened. Nothing:
  // always.
  void allowRestartAt(std::optional<uint32_t> frameCount) { restartFrameCount_ = frameCount; }

 private:
  static WriterLocks& of(sqlite3_file* file);
  int lockForWriting(int flags);
  int lockForRestart(int flags);

  sqlite3_file* const file_;
  const sqlite3_io_methods* const vfs_;
  const uint32_t& frameCount_;
  bool isHeld_ = false;
  // As SQLite sees it.
  bool isInUse_ = false;
  std::optional<uint32_t> restartFrameCount_;
};

}  // namespace mylibsql
