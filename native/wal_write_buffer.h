#pragma once
// SQLite's own writes to the WAL, gathered.
//
// SQLite writes a frame with two system calls: its header, and its page (walWriteOneFrame() in wal.c). They follow each
// other in the file, from the first frame of a transaction to the last one, so that many of them can go out with one call.
// A system call takes longer than to copy a page, many times as long in a virtual machine.
//
// What must hold: whoever reads the WAL finds there what SQLite has written before it told of it. Others read the frames
// that the wal-index header has published, and SQLite publishes when it has written the last frame of a transaction, the one
// whose header says how large the database is then. So all is written out with the page of that frame, before xWrite
// returns: an error of the system is an error of the commit, as it is without a buffer. Whatever else the connection does with
// the file comes behind what is in the buffer. Nothing waits when there is no transaction.
//
// What could not be written stays, to be written with what comes next: when the disk is full, SQLite may undo no more than a
// statement, and go on with the transaction, whose earlier frames it takes to be in the file.
//
// Only frames that are appended wait. SQLite also overwrites frames of the open transaction: the page, with a newer version
// of it, and then, behind the commit frame, the headers from there on with new checksums (walRewriteChecksums()), after which
// nothing tells that it was the last write before it publishes. These go through at once.

#include <cstddef>
#include <cstdint>

#include "file_methods.h"

namespace mylibsql {

class WalWriteBuffer : private FileMethods<WalWriteBuffer> {
 public:
  // In front of the open WAL of a connection.
  explicit WalWriteBuffer(sqlite3_file* wal);
  ~WalWriteBuffer();

  // To be told when the connection has taken the write lock, ...
  void beginTransaction() { committedLength_ = 0; }
  // ... and when it gives it back.
  void endTransaction();

  // What the last transaction has committed there, when it is still at hand; otherwise nullptr.
  const uint8_t* committedAt(int64_t byteOffset, size_t byteLength) const;

 private:
  friend class FileMethods<WalWriteBuffer>;
  int write(const void* data, size_t byteLength, sqlite3_int64 byteOffset);
  int append(const void* data, size_t byteLength, sqlite3_int64 byteOffset);
  int flush();
  sqlite3_int64 waitingEnd() const { return offset_ + static_cast<sqlite3_int64>(length_); }

  // SQLite's unix VFS takes less than 128 KiB at a time: seekAndWriteFd() masks a size to 17 bits. Any frame has room.
  static constexpr size_t kCapacity = 0x1ffff;

  // Behind all that the transaction has written: what is written from here on is appended.
  sqlite3_int64 end_ = 0;
  // What waits, and where it belongs.
  sqlite3_int64 offset_ = 0;
  size_t length_ = 0;
  // The last thing that waits is the header of a frame, its page comes next.
  bool awaitsPage_ = false;
  bool endsTransaction_ = false;
  // Nothing waits, and so much of what was written from `offset_` on is committed, and as it is in the file: headers with new
  // checksums come behind the commit frame.
  size_t committedLength_ = 0;
  uint8_t bytes_[kCapacity];
};

}  // namespace mylibsql
