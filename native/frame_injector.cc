// What SQLite does in walFrames() when a transaction commits, done with frames that come from elsewhere. The
// formats are described in wal_format.h and wal_index.h.
//
// The order, and why it is safe:
//   1. BEGIN IMMEDIATE takes the write lock: nobody else appends, restarts or recovers; the header stands still.
//   2. When the WAL is folded completely and nobody reads from it, it is restarted, as walRestartLog() does.
//   3. Piece by piece the frames are checked and written beyond the last committed one, where no reader looks.
//      The header of the first stays zero. Recovery stops at it: a crash up to here, or a bad frame in a later
//      piece, leaves nothing of the run, nor of commits inside it.
//   4. Their page numbers go into the hash tables. Readers pass over entries beyond their own last frame.
//   5. When all are good, the header of the first frame is written: now a recovery finds the whole run. And no
//      more: the header of the frame after the run was written as zeros. Otherwise frames of an earlier attempt
//      at the same run could follow, which continue the checksums when this run is the beginning of that one.
//   6. The wal-index header is written. This is only memory and cannot fail: readers that begin now see the run.
//   7. COMMIT releases the lock. The connection itself wrote no page, so SQLite adds nothing; at its next read it
//      finds the header changed and drops its page cache.
// A failure before 6 is followed by ROLLBACK, and whatever was written lies beyond the last committed frame.
//
// The frames are written through a descriptor of the addon's own, in pieces larger than SQLite's unix VFS takes
// (seekAndWriteFd() in os_unix.c masks a size to 17 bits). The VFS keeps nothing of the WAL but its descriptor.
//
// Nothing is synced: what must outlive a crash of the machine is in the saved logs.
#include "frame_injector.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "failure.h"
#include "file_io.h"
#include "frame_record.h"
#include "piece_writer.h"
#include "wal_format.h"

namespace mylibsql {

namespace {

class FrameInjector {
 public:
  FrameInjector(Connection& connection, const SqliteHandle& handle, const FrameRun& run)
      : connection_(connection),
        handle_(handle),
        run_(run),
        wal_(connection.walFile()),
        index_(handle),
        checker_(run) {}

  FrameCheck inject(const FrameSource& source, const std::optional<uint64_t>& endChecksum) {
    const WalState state = index_.read();
    header_ = state.header;
    requirePageSize();
    if (header_.frameCount > 0 && state.foldedCount == header_.frameCount) restartIfUnread();
    if (header_.frameCount == 0) writeWalHeader();
    if (run_.frameCount > kPageNoMax - header_.frameCount)
      throw Failure("SQLITE_FULL", "the WAL has too many frames");
    writeFrames(source);
    if (checker_.finishTransaction(endChecksum)) {
      wal_->write(firstHeader_, sizeof firstHeader_, offsetOf(header_.frameCount + 1));
      publish();
    }
    return checker_.check();
  }

 private:
  void requirePageSize() {
    uint32_t databasePageSize = header_.pageSize();
    if (databasePageSize == 0) {  // the WAL was never written
      databasePageSize =
          static_cast<uint32_t>(std::stoul(handle_.queryText("PRAGMA main.page_size", "reading page_size")));
    }
    if (databasePageSize == run_.pageSize) return;
    throw Failure("ERR_PAGE_SIZE", "the frames have pages of " + std::to_string(run_.pageSize) +
                                       " bytes, the database of " + std::to_string(databasePageSize));
  }

  // Somebody who reads from the WAL holds one of the read marks 1 to 4, and so does this connection
  // when the fold ended after its BEGIN. A lock of one's own would not be in the way, so it is a side
  // connection that asks.
  void restartIfUnread() {
    SideConnection* const side = connection_.borrowSide();
    try {
      if (side->tryLockReaders()) {
        uint32_t randomSalt;
        handle_.api->randomness(sizeof randomSalt, &randomSalt);
        index_.restart(header_, randomSalt);
        side->unlockReaders();
      }
    } catch (...) {
      connection_.giveBackSide(side);
      throw;
    }
    connection_.giveBackSide(side);
  }

  // The first frame of a generation: new salts make all frames that are in the file invalid. Readers have no
  // frame in the WAL, so the header can be overwritten. The sequence number goes on from the header that is
  // there.
  void writeWalHeader() {
    uint8_t bytes[kWalHeaderBytes];
    const bool isWhole = wal_->read(bytes, sizeof bytes, 0) == sizeof bytes;
    if (isWhole && (loadBig32(bytes) & ~1u) == kWalMagic) {
      connection_.checkpointSequence = std::max(connection_.checkpointSequence, loadBig32(bytes + 12));
    }
    connection_.checkpointSequence++;

    uint32_t randomSalts[2];
    handle_.api->randomness(sizeof randomSalts, randomSalts);
    const uint32_t salt1 = loadBig32(header_.salts.data());
    storeBig32(header_.salts.data(), salt1 == 0 ? randomSalts[0] : salt1 + 1);
    std::memcpy(header_.salts.data() + 4, &randomSalts[1], 4);

    storeBig32(bytes, kWalMagic | (kHostIsBigEndian ? 1 : 0));
    storeBig32(bytes + 4, kWalVersion);
    storeBig32(bytes + 8, run_.pageSize);
    storeBig32(bytes + 12, connection_.checkpointSequence);
    std::memcpy(bytes + 16, header_.salts.data(), header_.salts.size());
    const WalChecksum sum = walChecksum({}, kHostIsBigEndian, bytes, 24);
    storeBig32(bytes + 24, sum.first);
    storeBig32(bytes + 28, sum.second);
    wal_->write(bytes, sizeof bytes, 0);

    header_.bigEndianChecksums = kHostIsBigEndian;
    header_.frameChecksum[0] = sum.first;
    header_.frameChecksum[1] = sum.second;
    header_.setPageSize(run_.pageSize);
  }

  void writeFrames(const FrameSource& source) {
    const size_t stride = recordBytes(run_.pageSize);
    sum_ = {header_.frameChecksum[0], header_.frameChecksum[1]};
    uint32_t walIndex = header_.frameCount + 1;
    PieceWriter writer(wal_->fd(), wal_->path(), offsetOf(walIndex), stride, run_.frameCount);
    FrameReader reader(source, run_.pageSize, run_.frameCount);
    while (const uint32_t count = reader.copyNext(writer.next(), writer.room())) {
      for (uint32_t i = 0; i < count; i++) {
        uint8_t* const record = writer.next() + i * stride;
        if (!checker_.take(record)) return;
        index_.append(walIndex, recordPageNo(record), header_.frameCount);
        turnIntoFrame(record);
        if (walIndex++ == header_.frameCount + 1) holdBack(record);
      }
      writer.put(count);
    }
    if (reader.remaining() == 0) writer.finish(kWalFrameHeaderBytes);
  }

  // walEncodeFrame(): a WAL frame in the place of a record. The page stays where it is.
  void turnIntoFrame(uint8_t* record) {
    const uint32_t pageNo = recordPageNo(record);
    const uint32_t sizeAfter = recordSizeAfter(record);
    storeBig32(record, pageNo);
    storeBig32(record + 4, sizeAfter);
    std::memcpy(record + 8, header_.salts.data(), header_.salts.size());
    sum_ = walChecksum(sum_, header_.bigEndianChecksums, record, kWalFrameSummedBytes);
    sum_ = walChecksum(sum_, header_.bigEndianChecksums, record + kWalFrameHeaderBytes, run_.pageSize);
    storeBig32(record + 16, sum_.first);
    storeBig32(record + 20, sum_.second);
  }

  void holdBack(uint8_t* firstFrame) {
    std::memcpy(firstHeader_, firstFrame, sizeof firstHeader_);
    std::memset(firstFrame, 0, sizeof firstHeader_);
  }

  void publish() {
    header_.frameCount += static_cast<uint32_t>(run_.frameCount);
    header_.pageCount = checker_.check().lastSizeAfter;
    header_.changeCount++;
    header_.frameChecksum[0] = sum_.first;
    header_.frameChecksum[1] = sum_.second;
    index_.publish(header_);
  }

  int64_t offsetOf(uint32_t walIndex) const { return walFrameOffset(walIndex, run_.pageSize); }

  Connection& connection_;
  const SqliteHandle& handle_;
  const FrameRun& run_;
  const std::shared_ptr<const WalFile> wal_;
  WalIndex index_;
  FrameChecker checker_;
  WalIndexHeader header_;
  WalChecksum sum_;
  uint8_t firstHeader_[kWalFrameHeaderBytes];
};

// COMMIT or ROLLBACK, whatever another thread interrupts: a run that is published cannot be taken back (and a
// ROLLBACK would take its header for the one that the page cache belongs to, see sqlite3WalUndo), and the write
// lock must not stay.
int endTransaction(const SqliteHandle& handle, const char* sql) {
  int result = SQLITE_INTERRUPT;
  while (result == SQLITE_INTERRUPT) result = handle.api->exec(handle.db, sql, nullptr, nullptr, nullptr);
  return result;
}

}  // namespace

FrameCheck injectFrames(Connection& connection, const FrameSource& source, const FrameRun& run,
                        const std::optional<uint64_t>& endChecksum) {
  const FrameChecker start(run);
  if (run.frameCount == 0 || !start.isGood()) return start.check();
  const SqliteHandle& handle = connection.walHandle();
  handle.execute("BEGIN IMMEDIATE", "taking the write lock");
  FrameCheck check;
  try {
    check = FrameInjector(connection, handle, run).inject(source, endChecksum);
  } catch (...) {
    endTransaction(handle, "ROLLBACK");
    throw;
  }
  const int result = endTransaction(handle, check.badIndex < 0 ? "COMMIT" : "ROLLBACK");
  if (result != SQLITE_OK) throw sqliteFailure(handle, result, "releasing the write lock");
  return check;
}

}  // namespace mylibsql
