#pragma once
// What the addon keeps for a connection that loaded the extension. Owned by SQLite (sqlite3_set_clientdata),
// which drops it when the connection closes, and shared by JavaScript handles and jobs, which may outlive
// that.
//
// Everything but the job gate belongs to the thread of the connection.

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "guard.h"
#include "job_gate.h"
#include "side_connection.h"
#include "sqlite_handle.h"
#include "wal_file.h"
#include "wal_index.h"
#include "wal_write_buffer.h"
#include "writer_locks.h"

namespace mylibsql {

class Connection {
 public:
  // Finds or makes what belongs to the SQLite connection. Called by the extension's entry point.
  static std::shared_ptr<Connection> of(const SqliteHandle& handle);

  // Installs the WAL hook, and the authorizer and what is before the files when `guarded`; stops SQLite's own checkpoint on close.
  // Throws SQLITE_MISUSE inside a transaction.
  void prepare(bool guarded);

  // While on, an interrupt that comes between two statements ends the next one: sqlite3_interrupt() alone would be
  // forgotten when it begins.
  void noticeInterrupts(bool on);

  bool isOpen() const { return handle_.db != nullptr && !isClosed_; }
  // SQLite's handle; throws ERR_CLOSED.
  const SqliteHandle& handle() const;
  // The same, and makes sure that the database is in WAL mode and its WAL open.
  const SqliteHandle& walHandle();

  WalState walState();
  // The WAL's file, opened by itself on first use. (Locks are never taken on the WAL itself, so closing a
  // descriptor of it is harmless.)
  std::shared_ptr<const WalFile> walFile();

  // Side connections are lent, and valid until they are given back or close().
  SideConnection* borrowSide();
  void giveBackSide(SideConnection* side);

  // Under the guard; otherwise nullptr.
  WalWriteBuffer* writeBuffer() { return writeBuffer_.get(); }
  WriterLocks* writerLocks() { return writerLocks_.get(); }

  // At most one fold on another thread, so that folds report what they did.
  SideConnection* beginFold();
  void endFold();

  // Waits for the jobs and closes the side connections. The SQLite connection is closed by its owner.
  void close();

  // What interruptConnection() knows it by.
  const uint32_t id;
  // An interrupt that the next statement has to notice, when none runs.
  std::atomic<bool> interruptPending{false};
  JobGate gate;
  Guard guard;
  uint32_t hookFrameCount = 0;
  // Checkpoint sequence number of the last WAL header that the injector wrote.
  uint32_t checkpointSequence = 0;

 private:
  explicit Connection(const SqliteHandle& handle);
  // The SQLite connection is closing.
  void detach();
  // What was put between SQLite and its files is taken away.
  void restoreFiles();

  SqliteHandle handle_;
  std::string path_;
  bool isClosed_ = false;
  bool isWalOpen_ = false;
  std::shared_ptr<const WalFile> walFile_;
  // These only under the guard, which refuses what would unmap the wal-index and close the WAL: a change of journal_mode.
  std::optional<WalIndex> walIndex_;
  std::unique_ptr<WalWriteBuffer> writeBuffer_;
  std::unique_ptr<WriterLocks> writerLocks_;
  bool isGuarded_ = false;
  std::vector<std::unique_ptr<SideConnection>> sides_;
  std::vector<SideConnection*> idleSides_;
  SideConnection* foldingSide_ = nullptr;
};

}  // namespace mylibsql
