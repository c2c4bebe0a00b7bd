// A consistent copy of a database that is being written and folded.
//
// Let M be the last frame of the read transaction and F the frames that were folded when it began. The copy
// is the database file overlaid with the last version of each page in the frames F + 1 .. M.
//
// The transaction holds a read mark: no frame beyond M is folded and the WAL is not reset. A fold that runs
// meanwhile writes into the file only pages that have a version in F + 1 .. M, and those are taken from the
// WAL here. A page without such a version is not written by anybody: its bytes in the file are its last
// version as of frame F, because the checkpointer that raised nBackfill to F knew no frame beyond M
// (SideConnection::beginRead). Truncating the file is part of a fold, up to the size after frame M or earlier
// ones, and cannot cut off a page that is read here, as the pages above the size after F are in the overlay,
// and those up to the size after M remain.
//
// When the WAL was folded completely (F = M), the transaction holds read lock 0: it keeps every checkpointer
// from writing the file at all, whatever is committed to the WAL, reset or not. The file is the copy.
#include "database_copy.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "failure.h"
#include "file_io.h"
#include "frame_record.h"
#include "page_versions.h"

namespace mylibsql {

namespace {

constexpr size_t kDatabaseHeaderBytes = 100;
// What one xRead is asked for.
constexpr size_t kReadBytesMax = 64 * 1024;

// Through SQLite's own descriptor: see side_connection.h. Beyond the end of the file xRead fills with zeros,
// which is what a page that was never written holds (one freed in the transaction that allocated it, or the
// one with the lock bytes at 1 GiB).
void readDatabase(const SqliteHandle& handle, uint8_t* target, size_t byteLength, int64_t byteOffset) {
  sqlite3_file* const file = handle.databaseFile();
  for (size_t done = 0; done < byteLength;) {
    const size_t piece = std::min(byteLength - done, kReadBytesMax);
    const int result = file->pMethods->xRead(file, target + done, static_cast<int>(piece),
                                             byteOffset + static_cast<int64_t>(done));
    if (result != SQLITE_OK && result != SQLITE_IOERR_SHORT_READ) {
      throw sqliteFailure(handle, result, "reading the database file");
    }
    done += piece;
  }
}

// Size of a database whose WAL says nothing about it, as lockBtree() in btree.c finds it: the size in the
// header when the header's "version valid for" is its change counter, otherwise the size of the file.
DatabaseCopy sizeOfFile(const SqliteHandle& handle) {
  uint8_t header[kDatabaseHeaderBytes];
  readDatabase(handle, header, sizeof header, 0);
  DatabaseCopy size;
  const uint32_t encodedPageSize = (uint32_t{header[16]} << 8) | header[17];
  size.pageSize = encodedPageSize == 1 ? 65536 : encodedPageSize;
  if (size.pageSize < 512) throw corruptFailure("the database file has no valid header");
  size.pageCount = loadBig32(header + 28);
  if (size.pageCount == 0 || std::memcmp(header + 24, header + 92, 4) != 0) {
    sqlite3_file* const file = handle.databaseFile();
    sqlite3_int64 byteLength = 0;
    const int result = file->pMethods->xFileSize(file, &byteLength);
    if (result != SQLITE_OK) throw sqliteFailure(handle, result, "reading the size of the database file");
    size.pageCount = static_cast<uint32_t>((byteLength + size.pageSize - 1) / size.pageSize);
  }
  return size;
}

}  // namespace

DatabaseCopy copyDatabase(const SideConnection& side, const ReadTransaction& transaction, const WalFile& wal,
                          int targetFd, JobGate& gate) {
  const SqliteHandle& handle = side.handle();
  const WalIndexHeader& header = transaction.state.header;
  const bool isSizeKnown = header.pageCount != 0 && header.pageSize() != 0;
  DatabaseCopy copy = isSizeKnown ? DatabaseCopy{header.pageCount, header.pageSize(), 0} : sizeOfFile(handle);

  std::vector<PageVersion> versions;
  if (transaction.holdsWal) {
    versions = lastVersions(handle, transaction.state.foldedCount + 1, header.frameCount);
  }
  const PageVersion* version = versions.data();
  const PageVersion* const versionsEnd = version + versions.size();

  const uint32_t chunkPages = framesPerChunk(copy.pageSize);
  const std::unique_ptr<uint8_t[]> chunk(new uint8_t[size_t{chunkPages} * copy.pageSize]);
  VersionReader reader(wal, header, chunkPages);
  for (uint32_t done = 0; done < copy.pageCount;) {
    if (gate.isShut()) throw closedFailure();
    const uint32_t count = std::min(chunkPages, copy.pageCount - done);
    const size_t byteLength = size_t{count} * copy.pageSize;
    const int64_t byteOffset = static_cast<int64_t>(done) * copy.pageSize;
    const PageVersion* const end = std::find_if(
        version, versionsEnd, [&](const PageVersion& next) { return next.pageNo > done + count; });
    if (end - version < count) readDatabase(handle, chunk.get(), byteLength, byteOffset);
    while (version != end) {
      const size_t readCount = reader.read(version, end);
      for (size_t i = 0; i < readCount; i++, version++) {
        std::memcpy(chunk.get() + size_t{version->pageNo - done - 1} * copy.pageSize, reader.page(i),
                    copy.pageSize);
      }
    }
    copy.checksum = crc64(chunk.get(), byteLength, copy.checksum);
    writeAt(targetFd, chunk.get(), byteLength, byteOffset);
    done += count;
  }
  return copy;
}

}  // namespace mylibsql
