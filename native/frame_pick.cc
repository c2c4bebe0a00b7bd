#include "frame_pick.h"

#include <cstring>

#include "file_io.h"
#include "frame_record.h"
#include "wal_file.h"

namespace mylibsql {

namespace {

// Records for a file, written a chunk at a time.
class RecordWriter {
 public:
  RecordWriter(int fd, int64_t byteOffset, uint32_t pageSize, uint64_t checksum)
      : fd_(fd),
        pageSize_(pageSize),
        stride_(recordBytes(pageSize)),
        chunkFrames_(framesPerChunk(pageSize)),
        byteOffset_(byteOffset),
        checksum_(checksum),
        chunk_(new uint8_t[chunkFrames_ * stride_]) {}

  uint64_t checksum() const { return checksum_; }

  void add(const uint8_t* record, uint32_t sizeAfter) {
    uint8_t* const copy = chunk_.get() + count_ * stride_;
    std::memcpy(copy, record, stride_);
    storeLittle32(copy + 20, sizeAfter);
    checksum_ = chainedChecksum(copy, pageSize_, checksum_);
    storeLittle64(copy + 8, checksum_);
    if (++count_ == chunkFrames_) flush();
  }

  void flush() {
    if (count_ == 0) return;
    writeAt(fd_, chunk_.get(), count_ * stride_, byteOffset_);
    byteOffset_ += static_cast<int64_t>(count_ * stride_);
    count_ = 0;
  }

 private:
  const int fd_;
  const uint32_t pageSize_;
  const size_t stride_;
  const uint32_t chunkFrames_;
  int64_t byteOffset_;
  uint64_t checksum_;
  uint32_t count_ = 0;
  const std::unique_ptr<uint8_t[]> chunk_;
};

}  // namespace

PickedFrames pickFrames(const FrameSource& source, const FrameRun& run, const uint8_t* isPicked, int fd,
                        int64_t byteOffset, uint64_t startChecksum, bool endsLog) {
  const size_t stride = recordBytes(run.pageSize);
  FrameChecker checker(run);
  if (!checker.isGood()) return {checker.check(), startChecksum};
  RecordWriter writer(fd, byteOffset, run.pageSize, startChecksum);
  FrameReader reader(source, run.pageSize, run.frameCount);
  uint64_t index = 0;
  const uint8_t* records = nullptr;
  while (const uint32_t count = reader.next(records)) {
    for (uint32_t i = 0; i < count; i++, index++) {
      const uint8_t* const record = records + i * stride;
      if (!checker.take(record)) return {checker.check(), writer.checksum()};
      const bool isLast = endsLog && index + 1 == run.frameCount;
      if (isPicked[index] != 0) writer.add(record, isLast ? recordSizeAfter(record) : 0);
    }
  }
  if (checker.finish()) writer.flush();
  return {checker.check(), writer.checksum()};
}

}  // namespace mylibsql
