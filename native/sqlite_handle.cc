#include "sqlite_handle.h"

#include "failure.h"

namespace mylibsql {

namespace {

int keepFirstText(void* target, int columnCount, char** values, char**) {
  if (columnCount > 0 && values[0] != nullptr) *static_cast<std::string*>(target) = values[0];
  return SQLITE_OK;
}

}  // namespace

void SqliteHandle::execute(const char* sql, const char* action) const {
  const int result = api->exec(db, sql, nullptr, nullptr, nullptr);
  if (result != SQLITE_OK) throw sqliteFailure(*this, api->extended_errcode(db), action);
}

std::string SqliteHandle::queryText(const char* sql, const char* action) const {
  std::string text;
  const int result = api->exec(db, sql, keepFirstText, &text, nullptr);
  if (result != SQLITE_OK) throw sqliteFailure(*this, api->extended_errcode(db), action);
  return text;
}

void SqliteHandle::requireWritable() const {
  if (api->db_readonly(db, "main") != 1) return;
  Failure failure("SQLITE_READONLY", "the database file could be opened for reading only");
  failure.fromSqlite = true;
  throw failure;
}

sqlite3_file* SqliteHandle::databaseFile() const {
  sqlite3_file* file = nullptr;
  const int result = api->file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file);
  if (result != SQLITE_OK) throw sqliteFailure(*this, result, "finding the open file");
  if (file == nullptr || file->pMethods == nullptr || file->pMethods->iVersion < 2) {
    throw Failure("SQLITE_MISUSE", "the database is not a file, or its VFS has no shared memory for a WAL");
  }
  return file;
}

sqlite3_file* SqliteHandle::walFile() const {
  sqlite3_file* file = nullptr;
  const int result = api->file_control(db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &file);
  if (result != SQLITE_OK) throw sqliteFailure(*this, result, "finding the open WAL");
  if (file == nullptr || file->pMethods == nullptr) throw Failure("SQLITE_MISUSE", "the WAL is not open");
  return file;
}

}  // namespace mylibsql
