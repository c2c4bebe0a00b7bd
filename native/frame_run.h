#pragma once
// Runs of frame records: renumbered into another version, applied to a database file. How they are checked is
// in frame_check.h, the record's layout and checksums in frame_record.h.

#include <optional>

#include "frame_source.h"

namespace mylibsql {

struct FrameRun {
  uint64_t frameCount;  // of records
  uint32_t pageSize;
  uint64_t startFrameNo;
  int version;                 // 2 or 3
  uint64_t fileStartChecksum;  // that the log's own header names
  uint64_t startChecksum;      // chained version 3 checksum of the frame before the run
  // Of a merged log: behind the last frame that it covers. Numbers go up to there, with gaps.
  std::optional<uint64_t> mergedEndFrameNo;
};

// Writes the records, numbered from run.startFrameNo, as those of version `toVersion` to `fd` from
// `byteOffset` on. Chains from `startChecksum` (version 3) or run.fileStartChecksum (version 2); returns the
// last checksum.
uint64_t rewriteFrames(const FrameSource& source, const FrameRun& run, int toVersion, int fd,
                       int64_t byteOffset, uint64_t startChecksum);

// Writes the pages of whole transactions, checked before, into a database file that nobody has open, and
// truncates it to the size after the last one, which is returned (pages).
uint32_t applyFrames(const FrameSource& source, const FrameRun& run, int databaseFd);

}  // namespace mylibsql
