#include "writer_locks.h"

#include "bytes.h"
#include "failure.h"
#include "wal_index.h"

namespace mylibsql {

namespace {
constexpr std::chrono::milliseconds kHeldMax{100};
}  // namespace

WriterLocks::WriterLocks(const SqliteHandle& handle)
    : handle_(handle), file_(handle.databaseFile()), vfs_(file_->pMethods) {
  static_cast<sqlite3_io_methods&>(*this) = *vfs_;
  xShmLock = [](sqlite3_file* file, int first, int count, int flags) {
    WriterLocks& self = of(file);
    if (first == kWriteLock && count == 1) return self.lockForWriting(flags);
    if (first == kWalReaderLock && count == kWalReaderCount) return self.lockForRestart(flags);
    return self.vfs_->xShmLock(file, first, count, flags);
  };
  file_->pMethods = this;
}

WriterLocks::~WriterLocks() {
  releaseWriteLock();
  file_->pMethods = vfs_;
}

void WriterLocks::releaseWriteLock() {
  if (!isHeld_ || isInUse_) return;
  vfs_->xShmLock(file_, kWriteLock, 1, SQLITE_SHM_UNLOCK | SQLITE_SHM_EXCLUSIVE);
  isHeld_ = false;
}

WriterLocks& WriterLocks::of(sqlite3_file* file) {
  return *static_cast<WriterLocks*>(const_cast<sqlite3_io_methods*>(file->pMethods));
}

int WriterLocks::lockForWriting(int flags) {
  const bool isWanted = (flags & SQLITE_SHM_LOCK) != 0;
  if (!isWanted) {
    isInUse_ = false;
    // Taken before this was there.
    return isHeld_ ? SQLITE_OK : vfs_->xShmLock(file_, kWriteLock, 1, flags);
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
