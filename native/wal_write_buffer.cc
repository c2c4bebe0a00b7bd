#include "wal_write_buffer.h"

#include <algorithm>
#include <cstring>

#include "bytes.h"
#include "failure.h"
#include "wal_format.h"

namespace mylibsql {

namespace {

sqlite3_file* openWalOf(const SqliteHandle& handle) {
  sqlite3_file* file = nullptr;
  const int result = handle.api->file_control(handle.db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &file);
  return result == SQLITE_OK && file != nullptr && file->pMethods != nullptr ? file : nullptr;
}

}  // namespace

WalWriteBuffer::WalWriteBuffer(const SqliteHandle& handle) : handle_(handle) {
  sqlite3_file* const file = openWalOf(handle);
  if (file == nullptr) throw Failure("SQLITE_MISUSE", "the WAL is not open");
  vfs_ = file->pMethods;
  static_cast<sqlite3_io_methods&>(*this) = *vfs_;
  xWrite = [](sqlite3_file* file, const void* data, int byteLength, sqlite3_int64 byteOffset) {
    return of(file).write(file, data, static_cast<size_t>(byteLength), byteOffset);
  };
  xRead = [](sqlite3_file* file, void* target, int byteLength, sqlite3_int64 byteOffset) {
    WalWriteBuffer& self = of(file);
    const bool isWritten = byteOffset + byteLength <= self.offset_ || byteOffset >= self.waitingEnd();
    const int result = isWritten ? SQLITE_OK : self.flush(file);
    return result == SQLITE_OK ? self.vfs_->xRead(file, target, byteLength, byteOffset) : result;
  };
  xTruncate = [](sqlite3_file* file, sqlite3_int64 byteLength) {
    WalWriteBuffer& self = of(file);
    const int result = self.flush(file);
    return result == SQLITE_OK ? self.vfs_->xTruncate(file, byteLength) : result;
  };
  xSync = [](sqlite3_file* file, int flags) {
    WalWriteBuffer& self = of(file);
    const int result = self.flush(file);
    return result == SQLITE_OK ? self.vfs_->xSync(file, flags) : result;
  };
  xFileSize = [](sqlite3_file* file, sqlite3_int64* byteLength) {
    WalWriteBuffer& self = of(file);
    const int result = self.flush(file);
    return result == SQLITE_OK ? self.vfs_->xFileSize(file, byteLength) : result;
  };
  handle_.api->rollback_hook(
      handle_.db, [](void* self) { static_cast<WalWriteBuffer*>(self)->forget(); }, this);
  file->pMethods = this;
}

WalWriteBuffer::~WalWriteBuffer() {
  handle_.api->rollback_hook(handle_.db, nullptr, nullptr);
  sqlite3_file* const file = openWalOf(handle_);
  if (file == nullptr || file->pMethods != this) return;
  flush(file);
  file->pMethods = vfs_;
}

WalWriteBuffer& WalWriteBuffer::of(sqlite3_file* file) {
  return *static_cast<WalWriteBuffer*>(const_cast<sqlite3_io_methods*>(file->pMethods));
}

int WalWriteBuffer::write(sqlite3_file* file, const void* data, size_t byteLength, sqlite3_int64 byteOffset) {
  const bool isHeader = byteLength == kWalFrameHeaderBytes;
  committedLength_ = 0;
  if (byteOffset == 0) forget();  // the header of the WAL begins it anew
  const bool isAppended = byteOffset >= end_ && (length_ == 0 || byteOffset == waitingEnd());
  if (isAppended && (awaitsPage_ || isHeader)) return append(file, data, byteLength, byteOffset);
  const int result = flush(file);
  if (result != SQLITE_OK) return result;
  end_ = std::max(end_, byteOffset + static_cast<sqlite3_int64>(byteLength));
  return vfs_->xWrite(file, data, static_cast<int>(byteLength), byteOffset);
}

int WalWriteBuffer::append(sqlite3_file* file, const void* data, size_t byteLength, sqlite3_int64 byteOffset) {
  const bool isPage = awaitsPage_;
  if (length_ + byteLength > kCapacity) {
    const int result = flush(file);
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
  const int result = flush(file);
  if (result == SQLITE_OK) committedLength_ = committedLength;
  return result;
}

const uint8_t* WalWriteBuffer::committedAt(int64_t byteOffset, size_t byteLength) const {
  const auto end = byteOffset + static_cast<int64_t>(byteLength);
  const bool isHere = byteOffset >= offset_ && end <= offset_ + static_cast<int64_t>(committedLength_);
  return isHere ? bytes_ + (byteOffset - offset_) : nullptr;
}

// Nothing that was written so far will be written again.
void WalWriteBuffer::forget() {
  end_ = 0;
  length_ = 0;
  committedLength_ = 0;
  awaitsPage_ = false;
}

int WalWriteBuffer::flush(sqlite3_file* file) {
  if (length_ == 0) return SQLITE_OK;
  const int result = vfs_->xWrite(file, bytes_, static_cast<int>(length_), offset_);
  if (result != SQLITE_OK) return result;
  length_ = 0;
  awaitsPage_ = false;
  return SQLITE_OK;
}

}  // namespace mylibsql
