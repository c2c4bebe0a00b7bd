#pragma once
// What the one writer does otherwise about the locks of its WAL, which are a method of its database file.
//
// The write lock is held from the first transaction on. SQLite takes it for each one and gives it back: two system
// calls, and between them anybody may write. Now others get SQLITE_BUSY; they can read, and fold what is committed. SQLite needs
// the lock for two things besides: to rebuild a wal-index whose header is not valid (others meet such a header only in the
// moment when it is written, and try again), and for checkpoints that are not passive, before which it has to be released.
//
// A process loses its locks on a file, unnoticed, when it closes any descriptor of it (POSIX). So the lock is given back and
// taken again from time to time: what was lost is lost for no longer than that.
//
// The locks of the readers that use the WAL, all of them together, SQLite takes to start it over when all of it is folded,
// and appends to it when it does not get them (walRestartLog() in wal.c). It does not get them while the WAL has frames
// that nothing else holds: whoever has folded them.

#include <chrono>
#include <cstdint>
#include <optional>

#include "file_methods.h"
#include "sqlite_handle.h"
#include "wal_write_buffer.h"

namespace mylibsql {

class WriterLocks : private FileMethods<WriterLocks> {
 public:
  // The connection is in WAL mode and stays in it, and no transaction is open. `buffer` is told of its transactions.
  WriterLocks(const SqliteHandle& handle, WalWriteBuffer& buffer);
  ~WriterLocks() { releaseWriteLock(); }

  // Lets others write until the next transaction; during one it does nothing.
  void releaseWriteLock();
  // From now on the WAL is started over only when it has no more than so many frames of the generation with that salt-1.
  void allowRestartAt(uint32_t frameCount, uint32_t salt1) { restartLimit_ = {frameCount, salt1}; }
  // Always.
  void allowRestart() { restartLimit_.reset(); }

 private:
  friend class FileMethods<WriterLocks>;
  int lockForWriting(int flags);
  int lockForRestart(int flags);
  bool mayRestart() const;

  struct RestartLimit {
    uint32_t frameCount;
    uint32_t salt1;
  };

  const SqliteHandle handle_;
  WalWriteBuffer& buffer_;
  bool isHeld_ = false;
  std::chrono::steady_clock::time_point takenAt_;
  // As SQLite sees it.
  bool isInUse_ = false;
  std::optional<RestartLimit> restartLimit_;
};

}  // namespace mylibsql
