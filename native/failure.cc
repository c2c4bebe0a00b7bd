#include "failure.h"

#include <uv.h>

#include "sqlite_result.h"

namespace mylibsql {

Failure closedFailure() { return Failure("ERR_CLOSED", "the connection is closed"); }

Failure corruptFailure(const std::string& message) { return Failure("ERR_CORRUPT", message); }

Failure walResetFailure() {
  return Failure("ERR_WAL_RESET",
                 "the WAL was reset or rewritten since the position that these frames belong to");
}

Failure systemFailure(const char* systemCall, int errorNumber, const std::string& path) {
  char name[64];
  char description[256];
  uv_err_name_r(-errorNumber, name, sizeof name);
  uv_strerror_r(-errorNumber, description, sizeof description);
  const std::string call = std::string(systemCall) + (path.empty() ? "" : " of " + path);
  Failure failure("ERR_IO", call + " failed: " + name + ": " + description);
  failure.errorNumber = errorNumber;
  failure.errorName = name;
  failure.systemCall = systemCall;
  failure.path = path;
  return failure;
}

Failure sqliteFailure(const SqliteHandle& handle, int resultCode, const char* action) {
  // The connection's own message only belongs to this failure when it is about the same result code.
  const bool isLast = handle.db != nullptr && handle.api->extended_errcode(handle.db) == resultCode;
  const char* message = isLast ? handle.api->errmsg(handle.db) : handle.api->errstr(resultCode);
  Failure failure(sqliteResultName(resultCode), std::string(action) + ": " + message);
  failure.fromSqlite = true;
  return failure;
}

}  // namespace mylibsql
