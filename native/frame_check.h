#pragma once
// Whether frame records are what a log of their version may hold. The rules of one record are in
// frame_record.h.

#include <optional>

#include "frame_run.h"

namespace mylibsql {

struct FrameCheck {
  uint64_t endChecksum;          // chained version 3 checksum after the last frame that was read
  int64_t badIndex = -1;         // of the first bad record
  const char* reason = nullptr;  // one of FrameCheck's in src/worker/native.ts
  uint32_t lastSizeAfter = 0;
};

// Takes the records of a run one after the other, and no more after a bad one.
class FrameChecker {
 public:
  explicit FrameChecker(const FrameRun& run);

  bool isGood() const { return check_.badIndex < 0; }
  // What was found up to here.
  const FrameCheck& check() const { return check_; }

  // The next record. False when it is bad.
  bool take(const uint8_t* record);
  // After the last record that there was: whether the run is complete.
  bool finish();
  // The same, and whether it ends a transaction, with this checksum when one is named.
  bool finishTransaction(const std::optional<uint64_t>& endChecksum);

 private:
  const char* wrongInMerged(const uint8_t* record);
  bool reject(uint64_t index, const char* reason);

  const FrameRun run_;
  FrameCheck check_;
  uint64_t pageChain_;  // version 2
  uint64_t takenCount_ = 0;
  // Of a merged log: the least number that the next record may have, and the largest page so far.
  uint64_t nextFrameNo_;
  uint32_t pageNoMax_ = 0;
};

// Checks a run by itself. Uses one chunk of memory, whatever the run claims. `pageNos`, when given, has room for
// the page numbers of all records.
FrameCheck checkFrames(const FrameSource& source, const FrameRun& run, uint32_t* pageNos = nullptr);

}  // namespace mylibsql
