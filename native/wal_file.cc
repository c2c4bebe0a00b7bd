#include "wal_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "failure.h"
#include "file_io.h"
#include "frame_record.h"
#include "wal_format.h"

namespace mylibsql {

static_assert(kWalFrameHeaderBytes == kRecordHeaderBytes, "a WAL frame becomes a record in place");

WalFile::WalFile(const char* path) : path_(path), fd_(open(path, O_RDWR | O_CLOEXEC)) {
  if (fd_ < 0) throw systemFailure("open", errno, path_);
}

WalFile::~WalFile() { ::close(fd_); }

size_t WalFile::read(void* target, size_t byteLength, int64_t byteOffset) const {
  return readAt(fd_, target, byteLength, byteOffset, path_);
}

void WalFile::write(const void* bytes, size_t byteLength, int64_t byteOffset) const {
  writeAt(fd_, bytes, byteLength, byteOffset, path_);
}

uint32_t WalFile::sizeAfter(uint32_t walIndex, uint32_t pageSize) const {
  uint8_t pageNoAndSize[8];
  const int64_t offset = walFrameOffset(walIndex, pageSize);
  if (read(pageNoAndSize, sizeof pageNoAndSize, offset) != sizeof pageNoAndSize) {
    throw corruptFailure("the WAL ends before frame " + std::to_string(walIndex));
  }
  return loadBig32(pageNoAndSize + 4);
}

uint32_t framesPerChunk(uint32_t pageSize) {
  constexpr size_t kChunkBytes = 256 * 1024;
  return std::max<uint32_t>(1, static_cast<uint32_t>(kChunkBytes / recordBytes(pageSize)));
}

uint32_t WalRange::read(uint8_t* records, uint32_t frameCountMax) {
  const size_t stride = recordBytes(pageSize);
  const uint32_t count = std::min(frameCountMax, frameCount);
  if (frames != nullptr) {
    std::memcpy(records, frames, count * stride);
    frames += count * stride;
  } else if (file->read(records, count * stride, walFrameOffset(walIndex, pageSize)) != count * stride) {
    throw corruptFailure("the WAL ends before frame " + std::to_string(walIndex + count - 1));
  }
  for (uint32_t i = 0; i < count; i++) {
    uint8_t* const record = records + i * stride;
    if (std::memcmp(record + 8, salts.data(), salts.size()) != 0) throw walResetFailure();
    const uint32_t pageNo = loadBig32(record);
    const uint32_t sizeAfter = loadBig32(record + 4);
    storeLittle64(record, startFrameNo + i);
    storeLittle32(record + 16, pageNo);
    storeLittle32(record + 20, sizeAfter);
    checksum = chainedChecksum(record, pageSize, checksum);
    storeLittle64(record + 8, checksum);
  }
  walIndex += count;
  frameCount -= count;
  startFrameNo += count;
  return count;
}

}  // namespace mylibsql
