#include "frame_source.h"

#include <algorithm>
#include <cstring>

#include "file_io.h"
#include "frame_record.h"
#include "wal_file.h"

namespace mylibsql {

FrameReader::FrameReader(const FrameSource& source, uint32_t pageSize, uint64_t frameCount)
    : source_(source),
      stride_(recordBytes(pageSize)),
      chunkFrames_(framesPerChunk(pageSize)),
      remaining_(frameCount) {}

uint32_t FrameReader::next(const uint8_t*& records) {
  if (source_.fd >= 0) {
    if (chunk_ == nullptr) chunk_.reset(new uint8_t[chunkFrames_ * stride_]);
    records = chunk_.get();
    return copyNext(chunk_.get(), chunkFrames_);
  }
  records = source_.bytes + position_;
  return pass(std::min<uint64_t>(chunkFrames_, framesInBytes()));
}

uint32_t FrameReader::copyNext(uint8_t* records, uint32_t frameCountMax) {
  const uint64_t wanted = std::min<uint64_t>(remaining_, frameCountMax);
  if (source_.fd >= 0) {
    const int64_t offset = source_.byteOffset + static_cast<int64_t>(position_);
    return pass(wanted == 0 ? 0 : readAt(source_.fd, records, wanted * stride_, offset) / stride_);
  }
  const uint64_t count = std::min(wanted, framesInBytes());
  if (count > 0) std::memcpy(records, source_.bytes + position_, count * stride_);
  return pass(count);
}

uint64_t FrameReader::framesInBytes() const {
  return std::min<uint64_t>(remaining_, (source_.byteLength - position_) / stride_);
}

uint32_t FrameReader::pass(uint64_t frameCount) {
  position_ += frameCount * stride_;
  remaining_ -= frameCount;
  return static_cast<uint32_t>(frameCount);
}

}  // namespace mylibsql
