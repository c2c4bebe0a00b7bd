#pragma once
// SQLite's own writes to the WAL, gathered.
//
// SQLite writes a frame with two system calls: its header, and its page (walWriteOneFrame() in wal.c). They follow each
// other in the file, from the first frame of a transaction to the last one, so that many of them can go out with one call.
// A system call takes longer than to copy a page, many times as long in a virtual machine.
//
// A sqlite3_file begins with a pointer to the methods of its VFS. For the WAL of one connection this is turned to a
// copy of them in which some pass through the buffer.
//
// What must hold: whoever reads the WAL finds there what SQLite has written before it told of it. Others read the frames
// that the wal-index header has published, and SQLite publishes when it has written the last frame of a transaction, the one
// whose header says how large the database is then. So all is written out with the page of that frame, before xWrite
// returns: an error of the system is an error of the commit, as it is without a buffer. Whatever else the connection does with
// the file comes behind what is in the buffer. At the end of a transaction, committed or not, nothing waits.
//
// What could not be written stays, to be written with what comes next: when the disk is full, SQLite may undo no more than a
// statement, and go on with the transaction, whose earlier frames it takes to be in the file.
//
// Only frames that are appended wait. SQLite also overwrites frames of the open transaction: the page, with a newer version
// of it, and then, behind the commit frame, the headers from there on with new checksums (walRewriteChecksums()), after which
// nothing tells that it was the last write before it publishes. These go through at once.

#include <cstddef>
#include <cstdint>

#include "sqlite_handle.h"

namespace mylibsql {

class WalWriteBuffer : private sqlite3_io_methods {
 public:
  // The connection is in WAL mode, its WAL is open, and stays open until this ends.
  explicit WalWriteBuffer(const SqliteHandle& handle);
  ~WalWriteBuffer();
  WalWriteBuffer(const WalWriteBuffer&) = delete;
  WalWriteBuffer& operator=(const WalWriteBuffer&) = delete;

  // What the last commit has written there, when it is still at hand; otherwise nullptr.
  const uint8_t* committedAt(int64_t byteOffset, size_t byteLength) const;
  // Something else has written to the WAL.
  void forgetCommitted() { committedLength_ = 0; }

 private:
  static WalWriteBuffer& of(sqlite3_file* file);
  int write(sqlite3_file* file, const void* data, size_t byteLength, sqlite3_int64 byteOffset);
  int append(sqlite3_file* file, const void* data, size_t byteLength, sqlite3_int64 byteOffset);
  void forget();
  int flush(sqlite3_file* file);
  sqlite3_int64 waitingEnd() const { return offset_ + static_cast<sqlite3_int64>(length_); }

  // SQLite's unix VFS takes less than 128 KiB at a time: seekAndWriteFd() masks a size to 17 bits. Any frame has room.
  static constexpr size_t kCapacity = 0x1ffff;

  const SqliteHandle handle_;
  const sqlite3_io_methods* vfs_;
  // Behind all that was written since the WAL was started over or a transaction was rolled back: what is written from here on
  // is appended.
  sqlite3_int64 end_ = 0;
  // What waits, and where it belongs.
  sqlite3_int64 offset_ = 0;
  size_t length_ = 0;
  // The last thing that waits is the header of a frame, its page comes next.
  bool awaitsPage_ = false;
  // Nothing waits, and so much of what was written from `offset_` on is committed.
  size_t committedLength_ = 0;
  bool endsTransaction_ = false;
  uint8_t bytes_[kCapacity];
};

}  // namespace mylibsql
