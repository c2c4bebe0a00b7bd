#include "frame_run.h"

#include <memory>

#include "failure.h"
#include "file_io.h"
#include "frame_record.h"
#include "wal_file.h"

namespace mylibsql {

namespace {

// What is wrong with one record, its checksum apart.
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

FrameCheck checkFrames(const FrameSource& source, const FrameRun& run) {
  FrameCheck check;
  check.endChecksum = run.startChecksum;
  const auto bad = [&check](uint64_t index, const char* reason) {
    check.badIndex = static_cast<int64_t>(index);
    check.reason = reason;
    return check;
  };
  if (run.version == 3 && run.startChecksum != run.fileStartChecksum) return bad(0, "lineage");

  const size_t stride = recordBytes(run.pageSize);
  uint64_t pageChain = run.fileStartChecksum;
  uint64_t index = 0;
  FrameReader reader(source, run.pageSize, run.frameCount);
  const uint8_t* records = nullptr;
  while (const uint32_t count = reader.next(records)) {
    for (uint32_t i = 0; i < count; i++, index++) {
      const uint8_t* const record = records + i * stride;
      if (const char* field = wrongField(record, run.startFrameNo + index)) return bad(index, field);
      check.endChecksum = chainedChecksum(record, run.pageSize, check.endChecksum);
      if (run.version == 2) pageChain = pageChecksum(record, run.pageSize, pageChain);
      const uint64_t expected = run.version == 2 ? pageChain : check.endChecksum;
      if (recordChecksum(record) != expected) return bad(index, "checksum");
      check.lastSizeAfter = recordSizeAfter(record);
    }
  }
  return reader.remaining() == 0 ? check : bad(index, "truncated");
}

uint64_t rewriteFrames(const FrameSource& source, const FrameRun& run, int toVersion, int fd,
                       int64_t byteOffset, uint64_t startChecksum) {
  const size_t stride = recordBytes(run.pageSize);
  const std::unique_ptr<uint8_t[]> rewritten(new uint8_t[framesPerChunk(run.pageSize) * stride]);
  uint64_t checksum = toVersion == 2 ? run.fileStartChecksum : startChecksum;
  uint64_t frameNo = run.startFrameNo;
  FrameReader reader(source, run.pageSize, run.frameCount);
  const uint8_t* records = nullptr;
  while (const uint32_t count = reader.next(records)) {
    std::memcpy(rewritten.get(), records, count * stride);
    for (uint32_t i = 0; i < count; i++) {
      uint8_t* const record = rewritten.get() + i * stride;
      storeLittle64(record, frameNo++);
      checksum = toVersion == 2 ? pageChecksum(record, run.pageSize, checksum)
                                : chainedChecksum(record, run.pageSize, checksum);
      storeLittle64(record + 8, checksum);
    }
    writeAt(fd, rewritten.get(), count * stride, byteOffset);
    byteOffset += static_cast<int64_t>(count * stride);
  }
  if (reader.remaining() != 0) throw corruptFailure("the frames end before the last one");
  return checksum;
}

}  // namespace mylibsql
