// What SQLite does in walFrames() when a transaction commits, done with frames that come from elsewhere. The
// formats are described in wal_format.h and wal_index.h.
//
// The order, and why it is safe:
//   1. BEGIN IMMEDIATE takes the write lock: nobody else appends, restarts or recovers; the header stands still.
//   2. When the WAL is folded completely and nobody reads from it, it is restarted, as walRestartLog() does.
//   3. The frames are written beyond the last committed one, where no reader looks. The header of the first
//      stays zero. Recovery stops at it: a crash up to here leaves nothing of the run, nor of commits inside it.
//   4. Their page numbers go into the hash tables. Readers pass over entries beyond their own last frame.
//   5. The header of the first frame is written: now a recovery finds the whole run.
//   6. The wal-index header is written. This is only memory and cannot fail: readers that begin now see the run.
//   7. COMMIT releases the lock. The connection itself wrote no page, so SQLite adds nothing; at its next read it
//      finds the header changed and drops its page cache.
// A failure before 6 is followed by ROLLBACK, and whatever was written lies beyond the last committed frame.
//
// Nothing is synced: what must outlive a crash of the machine is in the saved logs.
#include "frame_injector.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "failure.h"
#include "frame_record.h"
#include "wal_format.h"

namespace mylibsql {

namespace {

// The unix VFS masks the size of one write to 17 bits (seekAndWriteFd() in os_unix.c) and reports what is
// above as SQLITE_FULL.
constexpr size_t kWriteBytesMax = 64 * 1024;

class FrameInjector {
 public:
  FrameInjector(Connection& connection, const SqliteHandle& handle, uint32_t pageSize)
      : connection_(connection),
        handle_(handle),
        pageSize_(pageSize),
        index_(handle),
        wal_(handle.walFile()) {}

  void run(const FrameSource& source, uint32_t frameCount) {
    const WalState state = index_.read();
    header_ = state.header;
    requirePageSize();
    if (header_.frameCount > 0 && state.foldedCount == header_.frameCount) restartIfUnread();
    if (header_.frameCount == 0) writeWalHeader();
    if (frameCount > kPageNoMax - header_.frameCount)
      throw Failure("SQLITE_FULL", "the WAL has too many frames");
    writeFrames(source, frameCount);
    for (uint32_t i = 0; i < frameCount; i++) {
      index_.append(header_.frameCount + 1 + i, pageNos_[i], header_.frameCount);
    }
    write(firstHeader_, sizeof firstHeader_, walFrameOffset(header_.frameCount + 1, pageSize_));
    publish(frameCount);
  }

 private:
  void requirePageSize() {
    uint32_t databasePageSize = header_.pageSize();
    if (databasePageSize == 0) {  // the WAL was never written
      databasePageSize =
          static_cast<uint32_t>(std::stoul(handle_.queryText("PRAGMA main.page_size", "reading page_size")));
    }
    if (databasePageSize == pageSize_) return;
    throw Failure("ERR_PAGE_SIZE", "the frames have pages of " + std::to_string(pageSize_) +
                                       " bytes, the database of " + std::to_string(databasePageSize));
  }

  // Somebody who reads from the WAL holds one of the read marks 1 to 4, and so do pins, and this connection
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
    const int result = wal_->pMethods->xRead(wal_, bytes, sizeof bytes, 0);
    if (result == SQLITE_OK && (loadBig32(bytes) & ~1u) == kWalMagic) {
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
    storeBig32(bytes + 8, pageSize_);
    storeBig32(bytes + 12, connection_.checkpointSequence);
    std::memcpy(bytes + 16, header_.salts.data(), header_.salts.size());
    const WalChecksum sum = walChecksum({}, kHostIsBigEndian, bytes, 24);
    storeBig32(bytes + 24, sum.first);
    storeBig32(bytes + 28, sum.second);
    write(bytes, sizeof bytes, 0);

    header_.bigEndianChecksums = kHostIsBigEndian;
    header_.frameChecksum[0] = sum.first;
    header_.frameChecksum[1] = sum.second;
    header_.setPageSize(pageSize_);
  }

  void writeFrames(const FrameSource& source, uint32_t frameCount) {
    const size_t stride = recordBytes(pageSize_);
    const uint32_t stagedMax = std::max<uint32_t>(1, static_cast<uint32_t>(kWriteBytesMax / stride));
    const std::unique_ptr<uint8_t[]> staged(new uint8_t[stagedMax * stride]);
    pageNos_.reserve(frameCount);
    sum_ = {header_.frameChecksum[0], header_.frameChecksum[1]};
    int64_t offset = walFrameOffset(header_.frameCount + 1, pageSize_);

    FrameReader reader(source, pageSize_, frameCount);
    const uint8_t* records = nullptr;
    while (const uint32_t count = reader.next(records)) {
      for (uint32_t done = 0; done < count;) {
        const uint32_t stagedCount = std::min(stagedMax, count - done);
        for (uint32_t i = 0; i < stagedCount; i++) {
          encodeFrame(staged.get() + i * stride, records + (done + i) * stride);
        }
        write(staged.get(), stagedCount * stride, offset);
        offset += static_cast<int64_t>(stagedCount * stride);
        done += stagedCount;
      }
    }
    if (reader.remaining() != 0) throw corruptFailure("the frames end before the last one");
    if (sizeAfter_ == 0) throw corruptFailure("the last frame does not end a transaction");
  }

  // walEncodeFrame(): a WAL frame from a record.
  void encodeFrame(uint8_t* frame, const uint8_t* record) {
    const uint32_t pageNo = recordPageNo(record);
    sizeAfter_ = recordSizeAfter(record);
    if (pageNo == 0 || pageNo > kPageNoMax) throw corruptFailure("page number " + std::to_string(pageNo));
    uint8_t* const page = frame + kWalFrameHeaderBytes;
    std::memcpy(page, recordPage(record), pageSize_);
    storeBig32(frame, pageNo);
    storeBig32(frame + 4, sizeAfter_);
    std::memcpy(frame + 8, header_.salts.data(), header_.salts.size());
    sum_ = walChecksum(sum_, header_.bigEndianChecksums, frame, kWalFrameSummedBytes);
    sum_ = walChecksum(sum_, header_.bigEndianChecksums, page, pageSize_);
    storeBig32(frame + 16, sum_.first);
    storeBig32(frame + 20, sum_.second);
    if (pageNos_.empty()) {
      std::memcpy(firstHeader_, frame, sizeof firstHeader_);
      std::memset(frame, 0, sizeof firstHeader_);
    }
    pageNos_.push_back(pageNo);
  }

  void publish(uint32_t frameCount) {
    header_.frameCount += frameCount;
    header_.pageCount = sizeAfter_;
    header_.changeCount++;
    header_.frameChecksum[0] = sum_.first;
    header_.frameChecksum[1] = sum_.second;
    index_.publish(header_);
  }

  void write(const uint8_t* bytes, size_t byteLength, int64_t byteOffset) {
    while (byteLength > 0) {
      const size_t piece = std::min(byteLength, kWriteBytesMax);
      const int result = wal_->pMethods->xWrite(wal_, bytes, static_cast<int>(piece), byteOffset);
      if (result != SQLITE_OK) throw sqliteFailure(handle_, result, "writing the WAL");
      bytes += piece;
      byteLength -= piece;
      byteOffset += static_cast<int64_t>(piece);
    }
  }

  Connection& connection_;
  const SqliteHandle& handle_;
  const uint32_t pageSize_;
  WalIndex index_;
  sqlite3_file* const wal_;
  WalIndexHeader header_;
  WalChecksum sum_;
  uint32_t sizeAfter_ = 0;
  uint8_t firstHeader_[kWalFrameHeaderBytes];
  std::vector<uint32_t> pageNos_;
};

}  // namespace

void injectFrames(Connection& connection, const FrameSource& source, uint32_t frameCount, uint32_t pageSize) {
  if (frameCount == 0) return;
  const SqliteHandle& handle = connection.walHandle();
  handle.execute("BEGIN IMMEDIATE", "taking the write lock");
  try {
    FrameInjector(connection, handle, pageSize).run(source, frameCount);
  } catch (...) {
    handle.api->exec(handle.db, "ROLLBACK", nullptr, nullptr, nullptr);
    throw;
  }
  handle.execute("COMMIT", "releasing the write lock");
}

}  // namespace mylibsql
