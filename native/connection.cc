#include "connection.h"

#include <algorithm>
#include <cstring>

#include "failure.h"
#include "interrupts.h"

namespace mylibsql {

namespace {

constexpr const char* kClientDataName = "mylibsql";

int onCommit(void* connection, sqlite3*, const char* schema, int frameCount) {
  if (std::strcmp(schema, "main") == 0) {
    static_cast<Connection*>(connection)->hookFrameCount = static_cast<uint32_t>(frameCount);
  }
  return SQLITE_OK;
}

// A statement begins: sqlite3_interrupt() forgets what came between two statements.
int onStatement(unsigned, void* context, void*, void*) {
  auto* const connection = static_cast<Connection*>(context);
  // Nothing may be thrown through SQLite: after close() there is no handle.
  if (connection->isOpen() && connection->interruptPending.exchange(false, std::memory_order_relaxed)) {
    const SqliteHandle& handle = connection->handle();
    handle.api->interruptx(handle.db);
  }
  return 0;
}

}  // namespace

std::shared_ptr<Connection> Connection::of(const SqliteHandle& handle) {
  using Owner = std::shared_ptr<Connection>;
  if (auto* owner = static_cast<Owner*>(handle.api->get_clientdata(handle.db, kClientDataName)))
    return *owner;

  auto* const owner = new Owner(new Connection(handle));
  // SQLite calls this at the start of sqlite3_close, when nothing can stop it any more but before it closes
  // its files: the wal-index is still mapped while jobs are waited for, and our own connections close before
  // it, so that it is the last one when it is to fold the WAL.
  const auto drop = [](void* data) {
    auto* const owner = static_cast<Owner*>(data);
    (*owner)->detach();
    delete owner;
  };
  const Owner connection = *owner;
  const int result = handle.api->set_clientdata(handle.db, kClientDataName, owner, drop);
  if (result != SQLITE_OK) throw sqliteFailure(handle, result, "loading the extension");
  return connection;
}

Connection::Connection(const SqliteHandle& handle) : id(registerForInterrupts(handle, &interruptPending)), handle_(handle) {
  const char* path = handle.api->db_filename(handle.db, "main");
  if (path != nullptr) path_ = path;
}

void Connection::prepare(bool guarded) {
  handle();  // not after close(): jobs of before may still be queued
  handle_.requireWritable();
  if (handle_.api->get_autocommit(handle_.db) == 0) throw Failure("SQLITE_MISUSE", "a transaction is open");
  handle_.api->wal_hook(handle_.db, onCommit, this);
  handle_.api->db_config(handle_.db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  guard.install(handle_, guarded);
  isGuarded_ = guarded;
  walIndex_.reset();
  restoreFiles();
  // Open it now: when it cannot be, nothing has been committed yet.
  if (handle_.queryText("PRAGMA main.journal_mode", "reading journal_mode") == "wal") {
    walFile();
    if (guarded) {
      writeBuffer_ = std::make_unique<WalWriteBuffer>(handle_.walFile());
      writerLocks_ = std::make_unique<WriterLocks>(handle_, *writeBuffer_);
    }
  }
}

void Connection::restoreFiles() {
  writerLocks_.reset();
  writeBuffer_.reset();
}

void Connection::noticeInterrupts(bool on) {
  const SqliteHandle& handle = this->handle();
  interruptPending.store(false, std::memory_order_relaxed);
  handle.api->trace_v2(handle.db, on ? SQLITE_TRACE_STMT : 0, on ? onStatement : nullptr, this);
}

const SqliteHandle& Connection::handle() const {
  if (!isOpen()) throw closedFailure();
  return handle_;
}

const SqliteHandle& Connection::walHandle() {
  const SqliteHandle& handle = this->handle();
  if (isWalOpen_) return handle;
  // The first read opens the WAL and recovers its index.
  handle.execute("PRAGMA schema_version", "opening the WAL");
  const std::string mode = handle.queryText("PRAGMA main.journal_mode", "reading journal_mode");
  if (mode != "wal") throw Failure("SQLITE_MISUSE", "the database is not in WAL mode but in mode " + mode);
  // With locking_mode EXCLUSIVE the wal-index would be in private memory.
  const std::string locking = handle.queryText("PRAGMA main.locking_mode", "reading locking_mode");
  if (locking != "normal") throw Failure("SQLITE_MISUSE", "the database has locking_mode " + locking);
  isWalOpen_ = true;
  return handle;
}

WalState Connection::walState() {
  const SqliteHandle& handle = walHandle();
  if (!isGuarded_) return WalIndex(handle).read();
  if (!walIndex_) walIndex_.emplace(handle);
  return walIndex_->read();
}

std::shared_ptr<const WalFile> Connection::walFile() {
  const SqliteHandle& handle = walHandle();
  if (walFile_ == nullptr) {
    const char* path = handle.api->filename_wal(handle.api->db_filename(handle.db, "main"));
    walFile_ = std::make_shared<const WalFile>(path);
  }
  return walFile_;
}

SideConnection* Connection::borrowSide() {
  const SqliteHandle& handle = walHandle();
  if (idleSides_.empty()) {
    sides_.push_back(std::make_unique<SideConnection>(handle.api, path_));
    idleSides_.push_back(sides_.back().get());
  }
  SideConnection* const side = idleSides_.back();
  idleSides_.pop_back();
  return side;
}

void Connection::giveBackSide(SideConnection* side) {
  // After close() it is gone; the pointer is only compared.
  const auto isSame = [side](const auto& owned) { return owned.get() == side; };
  if (std::any_of(sides_.begin(), sides_.end(), isSame)) idleSides_.push_back(side);
}

SideConnection* Connection::beginFold() {
  if (foldingSide_ != nullptr) throw Failure("ERR_BUSY", "a fold of the WAL is running already");
  return foldingSide_ = borrowSide();
}

void Connection::endFold() {
  giveBackSide(foldingSide_);
  foldingSide_ = nullptr;
}

void Connection::close() {
  if (isClosed_) return;
  isClosed_ = true;
  gate.shut();
  if (foldingSide_ != nullptr) foldingSide_->interrupt();
  gate.waitUntilEmpty();
  idleSides_.clear();
  foldingSide_ = nullptr;
  sides_.clear();
  walFile_.reset();
  walIndex_.reset();
}

void Connection::detach() {
  unregisterForInterrupts(id);
  close();
  restoreFiles();
  handle_ = {};
}

}  // namespace mylibsql
