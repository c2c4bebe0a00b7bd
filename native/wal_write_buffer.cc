#include "wal_write_buffer.h"

#include <algorithm>
#include <cstring>

#include "bytes.h"
#include "wal_format.h"

namespace mylibsql {

WalWriteBuffer::WalWriteBuffer(sqlite3_file* wal) : FileMethods(wal) {
  xWrite = [](sqlite3_file* file, const void* data, int byteLength, sqlite3_int64 byteOffset) {
    return of(file).write(data, static_cast<size_t>(byteLength), byteOffset);
  };
  xRead = [](sqlite3_file* file, void* target, int byteLength, sqlite3_int64 byteOffset) {
    WalWriteBuffer& self = of(file);
    const bool isWritten = byteOffset + byteLength <= self.offset_ || byteOffset >= self.waitingEnd();
    const int result = isWritten ? SQLITE_OK : self.flush();
    return result == SQLITE_OK ? self.vfs_->xRead(file, target, byteLength, byteOffset) : result;
  };
  xTruncate = [](sqlite3_file* file, sqlite3_int64 byteLength) {
    WalWriteBuffer& self = of(file);
    const int result = self.flush();
    return result == SQLITE_OK ? self.vfs_->xTruncate(file, byteLength) : result;
  };
  xSync = [](sqlite3_file* file, int flags) {
    WalWriteBuffer& self = of(file);
    const int result = self.flush();
    return result == SQLITE_OK ? self.vfs_->xSync(file, flags) : result;
  };
  xFileSize = [](sqlite3_file* file, sqlite3_int64* byteLength) {
    WalWriteBuffer& self = of(file);
    const int result = self.flush();
    return result == SQLITE_OK ? self.vfs_->xFileSize(file, byteLength) : result;
  };
}

// A transaction may go on without it.
WalWriteBuffer::~WalWriteBuffer() { flush(); }

void WalWriteBuffer::endTransaction() {
  end_ = 0;
  length_ = 0;
  awaitsPage_ = false;
}

const uint8_t* WalWriteBuffer::committedAt(int64_t byteOffset, size_t byteLength) const {
  const auto end = byteOffset + static_cast<int64_t>(byteLength);
  const bool isHere = byteOffset >= offset_ && end <= offset_ + static_cast<int64_t>(committedLength_);
  return isHere ? bytes_ + (byteOffset - offset_) : nullptr;
}

int WalWriteBuffer::write(const void* data, size_t byteLength, sqlite3_int64 byteOffset) {
  committedLength_ = 0;
  const bool isAppended = byteOffset >= end_ && (length_ == 0 || byteOffset == waitingEnd());
  if (isAppended && (awaitsPage_ || byteLength == kWalFrameHeaderBytes)) return append(data, byteLength, byteOffset);
  const int result = flush();
  if (result != SQLITE_OK) return result;
  end_ = std::max(end_, byteOffset + static_cast<sqlite3_int64>(byteLength));
  return vfs_->xWrite(file_, data, static_cast<int>(byteLength), byteOffset);
}

int WalWriteBuffer::append(const void* data, size_t byteLength, sqlite3_int64 byteOffset) {
  const bool isPage = awaitsPage_;
  if (length_ + byteLength > kCapacity) {
    const int result = flush();
    if (result != SQLITE_OK) return result;
  }
  if (length_ == 0) offset_ = byteOffset;
  std::memcpy(bytes_ + length_, data, byteLength);
  length_ += byteLength;
  end_ = waitingEnd();
  awaitsPage_ = !isPage;
  if (!isPage) endsTransaction_ = loadBig32(static_cast<const uint8_t*>(data) + 4) != 0;
  if (!isPage || !endsTransaction_) return SQLITE_OK;
  const size_t committedLength = length_;
  const int result = flush();
  if (result == SQLITE_OK) committedLength_ = committedLength;
  return result;
}

int WalWriteBuffer::flush() {
  if (length_ == 0) return SQLITE_OK;
  const int result = vfs_->xWrite(file_, bytes_, static_cast<int>(length_), offset_);
  if (result != SQLITE_OK) return result;
  length_ = 0;
  awaitsPage_ = false;
  return SQLITE_OK;
}

}  // namespace mylibsql
