#include "writer_locks.h"

#include "bytes.h"
#include "failure.h"
#include "wal_index.h"

namespace mylibsql {

namespace {
constexpr std::chrono::milliseconds kHeldMax{100};
}  // namespace

WriterLocks::WriterLocks(const SqliteHandle& handle, WalWriteBuffer& buffer)
    : FileMethods(handle.databaseFile()), handle_(handle), buffer_(buffer) {
  xShmLock = [](sqlite3_file* file, int first, int count, int flags) {
    WriterLocks& self = of(file);
    if (first == kWriteLock && count == 1) return self.lockForWriting(flags);
    if (first == kWalReaderLock && count == kWalReaderCount) return self.lockForRestart(flags);
    return self.vfs_->xShmLock(file, first, count, flags);
  };
}

void WriterLocks::releaseWriteLock() {
  if (!isHeld_ || isInUse_) return;
  vfs_->xShmLock(file_, kWriteLock, 1, SQLITE_SHM_UNLOCK | SQLITE_SHM_EXCLUSIVE);
  isHeld_ = false;
}

int WriterLocks::lockForWriting(int flags) {
  const bool isWanted = (flags & SQLITE_SHM_LOCK) != 0;
  if (!isWanted) {
    isInUse_ = false;
    buffer_.endTransaction();
    return SQLITE_OK;
  }
  const auto now = std::chrono::steady_clock::now();
  if (isHeld_ && now - takenAt_ > kHeldMax) releaseWriteLock();
  if (!isHeld_) {
    const int result = vfs_->xShmLock(file_, kWriteLock, 1, flags);
    if (result != SQLITE_OK) return result;
    isHeld_ = true;
    takenAt_ = now;
  }
  isInUse_ = true;
  buffer_.beginTransaction();
  return SQLITE_OK;
}

int WriterLocks::lockForRestart(int flags) {
  const bool isWanted = (flags & SQLITE_SHM_LOCK) != 0;
  if (isWanted && !mayRestart()) return SQLITE_BUSY;
  return vfs_->xShmLock(file_, kWalReaderLock, kWalReaderCount, flags);
}

// By the header itself, which stands still under the write lock: the WAL hook is not told of each commit (one that
// sqlite3_reset() makes, as after the one row of a RETURNING).
bool WriterLocks::mayRestart() const {
  if (!restartLimit_) return true;
  try {
    const WalIndexHeader header = WalIndex(handle_).read().header;
    return loadBig32(header.salts.data()) == restartLimit_->salt1 && header.frameCount <= restartLimit_->frameCount;
  } catch (const Failure&) {
    return false;  // nothing may be thrown through SQLite
  }
}

}  // namespace mylibsql
