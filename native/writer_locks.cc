#include "writer_locks.h"

#include "wal_index.h"

namespace mylibsql {

WriterLocks::WriterLocks(const SqliteHandle& handle, const uint32_t& frameCount)
    : file_(handle.databaseFile()), vfs_(file_->pMethods), frameCount_(frameCount) {
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
  if (isWanted && !isHeld_) {
    const int result = vfs_->xShmLock(file_, kWriteLock, 1, flags);
    if (result != SQLITE_OK) return result;
    isHeld_ = true;
  }
  isInUse_ = isWanted;
  return SQLITE_OK;
}

int WriterLocks::lockForRestart(int flags) {
  const bool isWanted = (flags & SQLITE_SHM_LOCK) != 0;
  if (isWanted && restartFrameCount_ && frameCount_ > *restartFrameCount_) return SQLITE_BUSY;
  const int result = vfs_->xShmLock(file_, kWalReaderLock, kWalReaderCount, flags);
  if (isWanted && result == SQLITE_OK && restartFrameCount_) restartFrameCount_ = 0;
  return result;
}

}  // namespace mylibsql
