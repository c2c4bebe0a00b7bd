#include "file_io.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "crc64.h"
#include "failure.h"

namespace mylibsql {

size_t readAt(int fd, void* target, size_t byteLength, int64_t byteOffset, const std::string& path) {
  size_t done = 0;
  while (done < byteLength) {
    const ssize_t count = pread(fd, static_cast<uint8_t*>(target) + done, byteLength - done,
                                static_cast<off_t>(byteOffset + static_cast<int64_t>(done)));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw systemFailure("pread", errno, path);
    if (count == 0) break;
    done += static_cast<size_t>(count);
  }
  return done;
}

void writeAt(int fd, const void* bytes, size_t byteLength, int64_t byteOffset, const std::string& path) {
  size_t done = 0;
  while (done < byteLength) {
    const ssize_t count = pwrite(fd, static_cast<const uint8_t*>(bytes) + done, byteLength - done,
                                 static_cast<off_t>(byteOffset + static_cast<int64_t>(done)));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw systemFailure("pwrite", errno, path);
    done += static_cast<size_t>(count);
  }
}

void reserve(int fd, int64_t byteOffset, int64_t byteLength) {
#if defined(__linux__)
  if (fallocate(fd, FALLOC_FL_KEEP_SIZE, static_cast<off_t>(byteOffset), static_cast<off_t>(byteLength)) != 0)
    return;
#endif
}

uint64_t copyFile(int sourceFd, int targetFd, int64_t byteLength) {
  // Small enough to be in the second-level cache still when it is summed and written.
  constexpr size_t kChunkBytes = 256 * 1024;
  const std::unique_ptr<uint8_t[]> chunk(new uint8_t[kChunkBytes]);
  uint64_t checksum = 0;
  for (int64_t offset = 0; offset < byteLength;) {
    const size_t wanted = static_cast<size_t>(std::min<int64_t>(kChunkBytes, byteLength - offset));
    if (readAt(sourceFd, chunk.get(), wanted, offset) != wanted) {
      throw corruptFailure("the file is shorter than the " + std::to_string(byteLength) +
                           " bytes it should have");
    }
    checksum = crc64(chunk.get(), wanted, checksum);
    if (targetFd >= 0) writeAt(targetFd, chunk.get(), wanted, offset);
    offset += static_cast<int64_t>(wanted);
  }
  return checksum;
}

bool tryLock(int fd) {
  while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return false;
    if (errno != EINTR) throw systemFailure("flock", errno);
  }
  return true;
}

}  // namespace mylibsql
