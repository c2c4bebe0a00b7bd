#pragma once
// The wal-index of SQLite: shared memory (the -shm file) that says which frames of the WAL count and where
// the newest version of a page is (sqlite.org/walformat.html, "The WAL-Index File Format"; struct WalIndexHdr
// and walIndexAppend() in wal.c). Integers are in the host's byte order.
//
//     header, 136 bytes                            copy of the header fields, 48 bytes
//     offset size field                            offset size field
//          0   48 first copy                            0    4 version 3007000
//         48   48 second copy                           4    4 unused
//         96    4 nBackfill: frames folded              8    4 iChange: counts transactions
//        100   20 read marks, 5 of 4 bytes             12    1 isInit
//        120    8 lock bytes, never read or written     13    1 bigEndCksum: byte order of WAL checksums
//        128    4 nBackfillAttempted                    14    2 page size, 1 for 65536
//        132    4 unused                                16    4 mxFrame: last committed frame
//                                                       20    4 nPage: database size in pages
//                                                       24    8 checksum of frame mxFrame
//                                                       32    8 salts, as their bytes stand in the WAL
//                                                       40    8 checksum of bytes [0, 40)
//
// Blocks of 32 KiB follow each other, the header being the beginning of the first one. Each block is an array
// of the page numbers of consecutive frames (4062 in the first, 4096 in the others) and a hash table of 8192
// u16 slots which hold the place in that array, counted from 1.
//
// A header is valid when both copies are the same, isInit is set and the checksum is right. Writers store the
// second copy first and readers load the first copy first, each with a barrier between.

#include <array>
#include <cstdint>
#include <vector>

#include "sqlite_handle.h"

namespace mylibsql {

// Which locks there are (WAL_WRITE_LOCK, WAL_CKPT_LOCK, WAL_READ_LOCK(0) in wal.c), and those of the readers that use the WAL.
inline constexpr int kWriteLock = 0;
inline constexpr int kCheckpointLock = 1;
inline constexpr int kReaderLock0 = 3;
inline constexpr int kWalReaderLock = 4;
inline constexpr int kWalReaderCount = 4;

struct WalIndexHeader {
  uint32_t version;
  uint32_t unused;
  uint32_t changeCount;
  uint8_t isInit;
  uint8_t bigEndianChecksums;
  uint16_t encodedPageSize;
  uint32_t frameCount;
  uint32_t pageCount;
  uint32_t frameChecksum[2];
  std::array<uint8_t, 8> salts;
  uint32_t checksum[2];

  uint32_t pageSize() const { return (encodedPageSize & 0xfe00u) + ((encodedPageSize & 0x0001u) << 16); }
  void setPageSize(uint32_t bytes) {
    encodedPageSize = static_cast<uint16_t>((bytes & 0xff00u) | (bytes >> 16));
  }
  bool operator==(const WalIndexHeader& other) const;
};
static_assert(sizeof(WalIndexHeader) == 48, "the layout is SQLite's");

// What the wal-index says at one moment.
struct WalState {
  WalIndexHeader header;
  uint32_t foldedCount;  // nBackfill, never more than header.frameCount
};

// The wal-index through the mapping of one connection. Lives for one call: the mapping is the connection's.
class WalIndex {
 public:
  explicit WalIndex(const SqliteHandle& handle) : handle_(handle), file_(handle.databaseFile()) {}

  // Any time. nBackfill is read between two sights of the same header, so that it is not from another
  // generation and was not reached by a checkpointer that knew a newer header.
  WalState read();

  // Page number of a committed frame. The caller's read transaction keeps the entry from changing.
  uint32_t pageNoOf(uint32_t walIndex);

  // The rest needs the write lock.

  // walIndexAppend(): makes a frame beyond the committed ones findable. Readers pass over it until publish().
  void append(uint32_t walIndex, uint32_t pageNo, uint32_t committedCount);
  // walIndexWriteHdr(): from here on readers that begin see the frames up to header.frameCount.
  void publish(WalIndexHeader& header);
  // walRestartHdr(): the next frame is the first. Needs the locks of readers 1 to 4 as well, and a folded
  // WAL.
  void restart(WalIndexHeader& header, uint32_t randomSalt);

  // The rest needs the checkpoint lock.

  // Read marks 1 to 4: the frames that readers at that mark read up to. Set with the lock of its readers.
  static constexpr uint32_t kReadMarkCount = 5;
  static constexpr uint32_t kReadMarkUnused = 0xffffffff;
  uint32_t readMark(uint32_t mark);
  void setReadMark(uint32_t mark, uint32_t walIndex);
  // nBackfillAttempted before a fold writes to the database file, nBackfill when it has.
  void setFoldAttempted(uint32_t walIndex);
  void setFolded(uint32_t walIndex);

 private:
  struct Block {
    volatile uint32_t* pageNos;  // of frames firstBefore + 1 and following
    volatile uint16_t* slots;
    uint32_t firstBefore;
  };

  volatile uint32_t* map(uint32_t blockNo, bool mayExtend);
  volatile uint32_t* firstBlock();
  Block blockOf(uint32_t walIndex, bool mayExtend);
  void forgetBeyond(uint32_t committedCount);
  bool tryRead(WalState& state);

  const SqliteHandle& handle_;
  sqlite3_file* file_;
  std::vector<volatile uint32_t*> blocks_;
};

}  // namespace mylibsql
