#pragma once
// One SQLite connection, reached through the routines that SQLite handed to the extension entry point.
//
// The pointer to the routines is kept with each connection instead of in the global that
// SQLITE_EXTENSION_INIT1 declares: several threads load the extension at the same time, and two copies of
// better-sqlite3 in one process have two SQLites. A connection is used by one thread at a time
// (SQLITE_THREADSAFE=2).

#include <sqlite3ext.h>

#include <string>

namespace mylibsql {

struct SqliteHandle {
  const sqlite3_api_routines* api = nullptr;
  sqlite3* db = nullptr;

  // Runs SQL without results; throws Failure with SQLite's code. `action` begins the message.
  void execute(const char* sql, const char* action) const;
  // First column of the first row, or an empty string.
  std::string queryText(const char* sql, const char* action) const;
  // The open database file of schema main; throws when the database has none (in memory).
  sqlite3_file* databaseFile() const;
  // The open WAL of schema main; throws when it is not open.
  sqlite3_file* walFile() const;
  // SQLite opens a file for reading that it cannot open for writing; it would say so at the first write.
  void requireWritable() const;
};

}  // namespace mylibsql
