#pragma once
// A WAL opened by itself, and its frames turned into frame records. What the system refuses names the file.

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "wal_index.h"

namespace mylibsql {

class WalFile {
 public:
  explicit WalFile(const char* path);
  ~WalFile();
  WalFile(const WalFile&) = delete;
  WalFile& operator=(const WalFile&) = delete;

  // See file_io.h.
  size_t read(void* target, size_t byteLength, int64_t byteOffset) const;
  void write(const void* bytes, size_t byteLength, int64_t byteOffset) const;
  int fd() const { return fd_; }
  const std::string& path() const { return path_; }
  // Database size in pages after the commit that a frame ends, 0 when it ends none.
  uint32_t sizeAfter(uint32_t walIndex, uint32_t pageSize) const;

 private:
  const std::string path_;
  const int fd_;
};

// A run of committed frames of one generation of the WAL, and how they are numbered and chained as records.
struct WalRange {
  std::shared_ptr<const WalFile> file;
  std::array<uint8_t, 8> salts;
  uint32_t pageSize;
  uint32_t walIndex;
  uint32_t frameCount;
  uint64_t startFrameNo;
  uint64_t checksum;  // of the frame before the run
  // The frames, when they are at hand: then the file is not read.
  const uint8_t* frames = nullptr;

  // Reads the next frames, at most `frameCountMax`, into `records` and moves the range on. Throws
  // ERR_WAL_RESET or ERR_CORRUPT. Touches nothing but the file, so any thread may call it.
  uint32_t read(uint8_t* records, uint32_t frameCountMax);
};

// Frames that are read and written at a time: about what a second-level cache holds, at least one.
uint32_t framesPerChunk(uint32_t pageSize);

}  // namespace mylibsql
