#pragma once
// Runs of frame records: checked, renumbered into another version, applied to a database file. The record's
// layout and checksums are described in frame_record.h.

#include "frame_source.h"

namespace mylibsql {

struct FrameRun {
  uint64_t frameCount;
  uint32_t pageSize;
  uint64_t startFrameNo;
  int version;                 // 2 or 3
  uint64_t fileStartChecksum;  // that the log's own header names
  uint64_t startChecksum;      // chained version 3 checksum of the frame before the run
};

struct FrameCheck {
  uint64_t endChecksum;          // chained version 3 checksum after the last frame that was read
  int64_t badIndex = -1;         // of the first bad record
  const char* reason = nullptr;  // frameNo, pageNo, sizeAfter, checksum, truncated, lineage
  uint32_t lastSizeAfter = 0;
};

// Whether the records are what a log of their version may hold. Uses one chunk of memory, whatever the run
// claims.
FrameCheck checkFrames(const FrameSource& source, const FrameRun& run);

// Writes the records, numbered from run.startFrameNo, as those of version `toVersion` to `fd` from
// `byteOffset` on. Chains from `startChecksum` (version 3) or run.fileStartChecksum (version 2); returns the
// last checksum.
uint64_t rewriteFrames(const FrameSource& source, const FrameRun& run, int toVersion, int fd,
                       int64_t byteOffset, uint64_t startChecksum);

// Writes the pages of whole transactions, checked before, into a database file that nobody has open, and
// truncates it to the size after the last one, which is returned (pages).
uint32_t applyFrames(const FrameSource& source, const FrameRun& run, int databaseFd);

}  // namespace mylibsql
