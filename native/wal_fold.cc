// What SQLite does in walCheckpoint(), with pages that go out many at a time. SQLite reads and writes them one by
// one, and two system calls for each are most of what a fold takes.
//
// The order, and why it is safe:
//   1. The checkpoint lock: nobody else folds or recovers.
//   2. The header, and nBackfill as of it. A WAL with an unfolded frame is not restarted by anybody, so from here
//      on its frames stand still.
//   3. The last frame that may be folded: a reader at a read mark below it takes pages from the file as they are
//      as of its mark. A mark that nobody holds is put out of the way, or readers would go on to choose it.
//   4. Read lock 0: nobody is reading from the database file alone, which is about to change page by page.
//   5. The last version of each page up to that frame goes into the file. Whoever reads meanwhile takes these
//      pages from the WAL, so a crash or a failure in the middle leaves nothing wrong.
//   6. When that is the whole WAL, as it is now, the file is cut to the size of the database.
//   7. nBackfill: readers that begin now take these pages from the file.
// Nothing is synced: what must outlive a crash of the machine is in the saved logs.
#include "wal_fold.h"

#include <algorithm>
#include <cstring>
#include <thread>

#include "failure.h"
#include "page_versions.h"

namespace mylibsql {

namespace {

// SQLite's unix VFS writes at most 128 KiB less a byte at a time (seekAndWriteFd() in os_unix.c).
constexpr size_t kWriteBytesMax = 124 * 1024;

class IndexLock {
 public:
  // Takes it when nobody has it, and does not wait.
  IndexLock(const SqliteHandle& handle, int lock) : file_(handle.databaseFile()), lock_(lock) {
    const int result = file_->pMethods->xShmLock(file_, lock_, 1, SQLITE_SHM_LOCK | SQLITE_SHM_EXCLUSIVE);
    isHeld_ = result == SQLITE_OK;
    if (!isHeld_ && (result & 0xff) != SQLITE_BUSY) {
      throw sqliteFailure(handle, result, "locking the wal-index for a fold");
    }
  }
  ~IndexLock() {
    if (isHeld_) file_->pMethods->xShmLock(file_, lock_, 1, SQLITE_SHM_UNLOCK | SQLITE_SHM_EXCLUSIVE);
  }
  IndexLock(const IndexLock&) = delete;
  IndexLock& operator=(const IndexLock&) = delete;

  bool isHeld() const { return isHeld_; }

 private:
  sqlite3_file* const file_;
  const int lock_;
  bool isHeld_;
};

// The last frame up to `last` that no reader keeps from being folded.
uint32_t lastFoldable(const SqliteHandle& handle, WalIndex& index, uint32_t last) {
  for (uint32_t mark = 1; mark < WalIndex::kReadMarkCount; mark++) {
    const uint32_t marked = index.readMark(mark);
    if (marked >= last) continue;
    const IndexLock lock(handle, kReaderLock0 + static_cast<int>(mark));
    if (lock.isHeld()) {
      index.setReadMark(mark, mark == 1 ? last : WalIndex::kReadMarkUnused);
    } else {
      last = marked;
    }
  }
  return last;
}

// Writes through SQLite's own descriptor: see side_connection.h.
class DatabaseWriter {
 public:
  DatabaseWriter(const SqliteHandle& handle, const WalIndexHeader& header)
      : handle_(handle),
        file_(handle.databaseFile()),
        pageSize_(header.pageSize()),
        countMax_(kWriteBytesMax / pageSize_),
        pages_(new uint8_t[countMax_ * pageSize_]) {}

  void add(uint32_t pageNo, const uint8_t* page) {
    if (count_ > 0 && (pageNo != firstPageNo_ + count_ || count_ == countMax_)) flush();
    if (count_ == 0) firstPageNo_ = pageNo;
    std::memcpy(pages_.get() + count_++ * pageSize_, page, pageSize_);
  }

  void flush() {
    if (count_ == 0) return;
    const int64_t offset = static_cast<int64_t>(firstPageNo_ - 1) * pageSize_;
    const int byteLength = static_cast<int>(count_ * pageSize_);
    require(file_->pMethods->xWrite(file_, pages_.get(), byteLength, offset));
    count_ = 0;
  }

  // As walCheckpoint() finds a header that cannot be true.
  void requireReachable(const WalIndexHeader& header) {
    constexpr int64_t kLockPageBytesMax = 65536;
    sqlite3_int64 byteLength = 0;
    require(file_->pMethods->xFileSize(file_, &byteLength));
    const int64_t walBytes = static_cast<int64_t>(header.frameCount) * pageSize_;
    if (bytesOf(header.pageCount) > byteLength + kLockPageBytesMax + walBytes) {
      throw corruptFailure("the WAL makes the database larger than its frames can");
    }
  }

  void cutTo(uint32_t pageCount) { require(file_->pMethods->xTruncate(file_, bytesOf(pageCount))); }

 private:
  int64_t bytesOf(uint32_t pageCount) const { return static_cast<int64_t>(pageCount) * pageSize_; }

  void require(int result) {
    if (result != SQLITE_OK) throw sqliteFailure(handle_, result, "folding the WAL");
  }

  const SqliteHandle& handle_;
  sqlite3_file* const file_;
  const uint32_t pageSize_;
  const size_t countMax_;
  const std::unique_ptr<uint8_t[]> pages_;
  uint32_t firstPageNo_ = 0;
  size_t count_ = 0;
};

void writePages(const SqliteHandle& handle, const WalFile& wal, const WalIndexHeader& header, uint32_t first,
                uint32_t last, DatabaseWriter& writer) {
  const std::vector<PageVersion> versions = lastVersions(handle, first, last);
  const auto isBeyond = [&](const PageVersion& version) { return version.pageNo > header.pageCount; };
  const PageVersion* next = versions.data();
  const PageVersion* const end = std::find_if(next, next + versions.size(), isBeyond);
  const size_t countMax = kWriteBytesMax / header.pageSize();
  VersionReader reader(wal, header, countMax);
  while (next != end) {
    if (handle.api->is_interrupted(handle.db) != 0) {
      throw sqliteFailure(handle, SQLITE_INTERRUPT, "folding the WAL");
    }
    // A fold is in no hurry. Whoever was woken on its processor would wait for milliseconds: all the frames of a
    // replica, when it is the thread that hands it the next log.
    std::this_thread::yield();
    const PageVersion* const batchEnd = next + std::min<ptrdiff_t>(end - next, static_cast<ptrdiff_t>(countMax));
    while (next != batchEnd) {
      const size_t count = reader.read(next, batchEnd);
      for (size_t i = 0; i < count; i++) writer.add(next++->pageNo, reader.page(i));
    }
  }
  writer.flush();
}

}  // namespace

FoldResult foldWal(const SqliteHandle& handle, const WalFile& wal) {
  const IndexLock checkpoint(handle, kCheckpointLock);
  if (!checkpoint.isHeld()) throw sqliteFailure(handle, SQLITE_BUSY, "folding the WAL");
  WalIndex index(handle);
  const WalState state = index.read();
  const WalIndexHeader& header = state.header;
  const FoldResult before{header.frameCount, state.foldedCount};
  if (state.foldedCount == header.frameCount) return before;

  const uint32_t last = lastFoldable(handle, index, header.frameCount);
  if (last <= state.foldedCount) return before;
  const IndexLock database(handle, kReaderLock0);
  if (!database.isHeld()) return before;

  index.setFoldAttempted(last);
  DatabaseWriter writer(handle, header);
  writer.requireReachable(header);
  writePages(handle, wal, header, state.foldedCount + 1, last, writer);
  if (index.read().header.frameCount == last) writer.cutTo(header.pageCount);
  index.setFolded(last);
  return {header.frameCount, last};
}

}  // namespace mylibsql
