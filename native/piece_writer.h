#pragma once
// Records on their way into a file, written in pieces of 256 KiB that lie where multiples of that do in the file.
//
// The system keeps what is written in units as large as fit at that place: a file that grows by pieces across
// those places takes a third longer than one that grows from one to the next. And a piece is still in the
// second-level cache when it is written.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace mylibsql {

class PieceWriter {
 public:
  // For `recordCount` records of `recordBytes` from `byteOffset` on. What the system refuses names `path`.
  PieceWriter(int fd, const std::string& path, int64_t byteOffset, size_t recordBytes, uint64_t recordCount);

  // Where the next records go, and how many before put(): at least one, as long as there are some to come.
  uint8_t* next() { return buffer_.get() + heldBytes_; }
  uint32_t room() const;

  // `recordCount` of them are there now. Writes the piece that they complete, but nothing of the last piece.
  void put(uint32_t recordCount);
  // Behind the last record: writes what is left, and zeros behind it.
  void finish(size_t zeroBytes = 0);

  static constexpr size_t kZeroBytesMax = 32;

 private:
  void write(size_t byteLength);
  void reserve();

  const int fd_;
  const std::string& path_;
  const size_t recordBytes_;
  int64_t byteOffset_;  // of the first byte that is held
  size_t heldBytes_ = 0;
  uint64_t remaining_;        // records to come
  int64_t reservedUpTo_ = 0;  // in the file
  const std::unique_ptr<uint8_t[]> buffer_;
};

}  // namespace mylibsql
