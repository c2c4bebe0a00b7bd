#pragma once
// A connection of the addon's own on the file of a connection: it holds read transactions, folds the
// WAL, and lends its locks, all without touching the transaction state of the JavaScript connection.
//
// It must be opened through SQLite, never with open(2): closing any other descriptor of a database file drops
// every POSIX lock that the process holds on it (sqlite.org/howtocorrupt.html, 2.2).

#include <memory>
#include <string>

#include "sqlite_handle.h"
#include "wal_fold.h"

namespace mylibsql {

// A read transaction as it was begun.
struct ReadTransaction {
  WalState state;
  // The transaction keeps SQLite from resetting the WAL and from folding beyond state.header.frameCount.
  // Otherwise the WAL was folded completely: SQLite then reads from the database file alone and holds nothing
  // in the WAL.
  bool holdsWal;
};

class SideConnection {
 public:
  SideConnection(const sqlite3_api_routines* api, const std::string& path);
  ~SideConnection();
  SideConnection(const SideConnection&) = delete;
  SideConnection& operator=(const SideConnection&) = delete;

  ReadTransaction beginRead();
  void endRead();

  // As far as readers allow.
  FoldResult fold(const WalFile& wal) { return foldWal(handle_, wal); }
  // All of it, and empties the WAL file: sqlite3_wal_checkpoint_v2 with SQLITE_CHECKPOINT_TRUNCATE.
  FoldResult foldAndTruncate();

  // Locks out everybody who reads from the WAL: false when there is somebody, this process included.
  bool tryLockReaders();
  void unlockReaders();

  // From any thread: a fold that runs ends with SQLITE_INTERRUPT.
  void interrupt() { handle_.api->interruptx(handle_.db); }

  const SqliteHandle& handle() const { return handle_; }

 private:
  SqliteHandle handle_;
};

}  // namespace mylibsql
