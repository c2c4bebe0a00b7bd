// The addon as a SQLite loadable extension: db.loadExtension(path, 'sqlite3_mylibsql_init').
#include "extension.h"

#include "failure.h"

namespace mylibsql {

namespace {

// sqlite3_set_clientdata is of 3.44, the newest routine that is used.
constexpr int kSqliteVersionMin = 3044000;

// A thread owns its connections, so a thread-local cannot name one of another thread. Weak: it does not keep
// what belongs to a closed connection.
thread_local std::weak_ptr<Connection> lastLoaded;

int refuse(const sqlite3_api_routines* api, char** error, const char* message) {
  if (error != nullptr) *error = api->mprintf("%s", message);
  return SQLITE_ERROR;
}

}  // namespace

std::shared_ptr<Connection> lastLoadedConnection() { return lastLoaded.lock(); }

}  // namespace mylibsql

extern "C" __attribute__((visibility("default"))) int sqlite3_mylibsql_init(sqlite3* db, char** error,
                                                                            const sqlite3_api_routines* api) {
  using namespace mylibsql;
  if (api->libversion_number() < kSqliteVersionMin)
    return refuse(api, error, "mylibsql needs SQLite 3.44 or newer");
  try {
    lastLoaded = Connection::of({api, db});
    return SQLITE_OK;
  } catch (const std::exception& failure) {
    return refuse(api, error, failure.what());
  }
}
