#include "frame_check.h"

#include <algorithm>

#include "frame_record.h"

namespace mylibsql {

namespace {

// What is wrong with one record of a run without gaps, its checksum apart.
const char* wrongField(const uint8_t* record, uint64_t frameNo) {
  if (recordFrameNo(record) != frameNo) return "frameNo";
  const uint32_t pageNo = recordPageNo(record);
  if (pageNo == 0 || pageNo > kPageNoMax) return "pageNo";
  // SQLite leaves out of a commit the pages that it cuts off, so the frame that ends one lies within the new
  // size. Frames before it may not: they were written before the database shrank.
  const uint32_t sizeAfter = recordSizeAfter(record);
  if (sizeAfter > kPageNoMax || (sizeAfter != 0 && sizeAfter < pageNo)) return "sizeAfter";
  return nullptr;
}

}  // namespace

FrameChecker::FrameChecker(const FrameRun& run)
    : run_(run), pageChain_(run.fileStartChecksum), nextFrameNo_(run.startFrameNo) {
  check_.endChecksum = run.startChecksum;
  if (run.version == 3 && run.startChecksum != run.fileStartChecksum) reject(0, "lineage");
}

bool FrameChecker::take(const uint8_t* record) {
  const char* const field = run_.mergedEndFrameNo ? wrongInMerged(record)
                                                  : wrongField(record, run_.startFrameNo + takenCount_);
  if (field != nullptr) return reject(takenCount_, field);
  check_.endChecksum = chainedChecksum(record, run_.pageSize, check_.endChecksum);
  if (run_.version == 2) pageChain_ = pageChecksum(record, run_.pageSize, pageChain_);
  const uint64_t expected = run_.version == 2 ? pageChain_ : check_.endChecksum;
  if (recordChecksum(record) != expected) return reject(takenCount_, "checksum");
  check_.lastSizeAfter = recordSizeAfter(record);
  takenCount_++;
  return true;
}

// What is wrong with one record of a merged log. The last record is the last frame that the log covers; it alone
// ends a transaction, and no page lies beyond the size that it names.
const char* FrameChecker::wrongInMerged(const uint8_t* record) {
  const uint64_t frameNo = recordFrameNo(record);
  const uint64_t lastFrameNo = *run_.mergedEndFrameNo - 1;
  const bool isLast = takenCount_ + 1 == run_.frameCount;
  if (isLast ? frameNo != lastFrameNo : frameNo < nextFrameNo_ || frameNo >= lastFrameNo) return "frameNo";
  pageNoMax_ = std::max(pageNoMax_, recordPageNo(record));
  const uint32_t sizeAfter = recordSizeAfter(record);
  if (isLast ? sizeAfter < pageNoMax_ : sizeAfter != 0) return "sizeAfter";
  nextFrameNo_ = frameNo + 1;
  return wrongField(record, frameNo);
}

bool FrameChecker::finish() {
  if (!isGood()) return false;
  return takenCount_ == run_.frameCount || reject(takenCount_, "truncated");
}

bool FrameChecker::finishTransaction(const std::optional<uint64_t>& endChecksum) {
  if (!finish()) return false;
  if (check_.lastSizeAfter == 0) return reject(takenCount_ - 1, "unfinished");
  return !endChecksum || *endChecksum == check_.endChecksum || reject(takenCount_ - 1, "endChecksum");
}

bool FrameChecker::reject(uint64_t index, const char* reason) {
  check_.badIndex = static_cast<int64_t>(index);
  check_.reason = reason;
  return false;
}

FrameCheck checkFrames(const FrameSource& source, const FrameRun& run, uint32_t* pageNos) {
  const size_t stride = recordBytes(run.pageSize);
  FrameChecker checker(run);
  if (!checker.isGood()) return checker.check();
  FrameReader reader(source, run.pageSize, run.frameCount);
  const uint8_t* records = nullptr;
  while (const uint32_t count = reader.next(records)) {
    for (uint32_t i = 0; i < count; i++) {
      const uint8_t* const record = records + i * stride;
      if (!checker.take(record)) return checker.check();
      if (pageNos != nullptr) *pageNos++ = recordPageNo(record);
    }
  }
  checker.finish();
  return checker.check();
}

}  // namespace mylibsql
