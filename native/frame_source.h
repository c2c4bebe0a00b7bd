#pragma once
// Where frame records come from: memory, or a file from an offset on. Read front to back in chunks of fixed
// size.

#include <cstddef>
#include <cstdint>
#include <memory>

namespace mylibsql {

struct FrameSource {
  const uint8_t* bytes = nullptr;  // of a JavaScript buffer, when fd is -1
  size_t byteLength = 0;
  int fd = -1;
  int64_t byteOffset = 0;  // of the first record
};

class FrameReader {
 public:
  FrameReader(const FrameSource& source, uint32_t pageSize, uint64_t frameCount);

  // Points `records` at the next whole records and returns how many there are: 0 at the end of the run, or
  // where the source ends early (remaining() is not 0 then). Valid until the next call.
  uint32_t next(const uint8_t*& records);
  // The same, at most `frameCountMax`, copied to where the caller may change them.
  uint32_t copyNext(uint8_t* records, uint32_t frameCountMax);

  uint64_t remaining() const { return remaining_; }

 private:
  uint64_t framesInBytes() const;
  uint32_t pass(uint64_t frameCount);

  const FrameSource source_;
  const size_t stride_;
  const uint32_t chunkFrames_;
  uint64_t remaining_;
  uint64_t position_ = 0;  // of the next record, in bytes from the first one
  std::unique_ptr<uint8_t[]> chunk_;
};

}  // namespace mylibsql
