#include "frame_run.h"

#include <memory>

#include "failure.h"
#include "file_io.h"
#include "frame_record.h"
#include "wal_file.h"

namespace mylibsql {

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
