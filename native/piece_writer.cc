#include "piece_writer.h"

#include <algorithm>
#include <cstring>

#include "file_io.h"

namespace mylibsql {

namespace {

constexpr int64_t kPieceBytes = 256 * 1024;
// Room that is asked for at a time, when at least so much is to come: not all that is said to come, which may be
// more than there is, and not for little, which takes less than the call.
constexpr int64_t kReservedBytesMax = 16 * kPieceBytes;
constexpr int64_t kReservedBytesMin = 4 * kPieceBytes;

// Records that complete a piece, the first and last of them in part, or all that there are.
uint64_t recordsHeld(size_t recordBytes, uint64_t recordCount) {
  return std::min<uint64_t>(static_cast<uint64_t>(kPieceBytes) / recordBytes + 2, recordCount);
}

}  // namespace

PieceWriter::PieceWriter(int fd, const std::string& path, int64_t byteOffset, size_t recordBytes,
                         uint64_t recordCount)
    : fd_(fd),
      path_(path),
      recordBytes_(recordBytes),
      byteOffset_(byteOffset),
      remaining_(recordCount),
      buffer_(new uint8_t[recordsHeld(recordBytes, recordCount) * recordBytes + kZeroBytesMax]) {}

uint32_t PieceWriter::room() const {
  const int64_t end = byteOffset_ + static_cast<int64_t>(heldBytes_);
  const auto bytes = static_cast<size_t>(kPieceBytes - end % kPieceBytes);
  return static_cast<uint32_t>(std::min<uint64_t>((bytes + recordBytes_ - 1) / recordBytes_, remaining_));
}

void PieceWriter::put(uint32_t recordCount) {
  heldBytes_ += recordCount * recordBytes_;
  remaining_ -= recordCount;
  if (remaining_ == 0) return;
  const int64_t end = byteOffset_ + static_cast<int64_t>(heldBytes_);
  const int64_t pieceEnd = end - end % kPieceBytes;
  if (pieceEnd <= byteOffset_) return;
  reserve();
  write(static_cast<size_t>(pieceEnd - byteOffset_));
}

void PieceWriter::finish(size_t zeroBytes) {
  std::memset(next(), 0, zeroBytes);
  heldBytes_ += zeroBytes;
  write(heldBytes_);
}

void PieceWriter::write(size_t byteLength) {
  writeAt(fd_, buffer_.get(), byteLength, byteOffset_, path_);
  byteOffset_ += static_cast<int64_t>(byteLength);
  heldBytes_ -= byteLength;
  std::memmove(buffer_.get(), buffer_.get() + byteLength, heldBytes_);
}

void PieceWriter::reserve() {
  if (byteOffset_ < reservedUpTo_) return;
  const auto toCome = static_cast<int64_t>(heldBytes_ + remaining_ * recordBytes_);
  if (toCome < kReservedBytesMin) return;
  reservedUpTo_ = byteOffset_ + std::min(kReservedBytesMax, toCome);
  mylibsql::reserve(fd_, byteOffset_, reservedUpTo_ - byteOffset_);
}

}  // namespace mylibsql
