#include "frame_source.h"

#include <algorithm>

#include "file_io.h"
#include "frame_record.h"
#include "wal_file.h"

namespace mylibsql {

FrameReader::FrameReader(const FrameSource& source, uint32_t pageSize, uint64_t frameCount)
    : source_(source),
      stride_(recordBytes(pageSize)),
      chunkFrames_(framesPerChunk(pageSize)),
      remaining_(frameCount) {
  if (source.fd >= 0) chunk_.reset(new uint8_t[chunkFrames_ * stride_]);
}

uint32_t FrameReader::next(const uint8_t*& records) {
  const auto wanted = static_cast<uint32_t>(std::min<uint64_t>(remaining_, chunkFrames_));
  uint32_t count = 0;
  if (wanted == 0) return 0;
  if (source_.fd >= 0) {
    const int64_t offset = source_.byteOffset + static_cast<int64_t>(position_);
    count = static_cast<uint32_t>(readAt(source_.fd, chunk_.get(), wanted * stride_, offset) / stride_);
    records = chunk_.get();
  } else {
    count = static_cast<uint32_t>(std::min<uint64_t>(wanted, (source_.byteLength - position_) / stride_));
    records = source_.bytes + position_;
  }
  position_ += count * stride_;
  remaining_ -= count;
  return count;
}

}  // namespace mylibsql
