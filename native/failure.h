#pragma once
// What can go wrong below the JavaScript boundary. Thrown as a C++ exception on whatever thread it happens
// and turned into a JavaScript Error with a `code` on the thread of the environment (js_error.h).

#include <exception>
#include <string>

#include "sqlite_handle.h"

namespace mylibsql {

struct Failure : std::exception {
  std::string code;  // "ERR_..." or "SQLITE_..."
  std::string message;
  bool fromSqlite = false;  // code is a result code of SQLite
  int errorNumber = 0;      // errno, when code is ERR_IO
  std::string errorName;    // of errno, as Node.js has it in `code`: ENOSPC
  std::string systemCall;   // the call that failed, when code is ERR_IO
  std::string path;         // of the file, when it is not one that the caller has named or opened

  Failure(std::string code, std::string message) : code(std::move(code)), message(std::move(message)) {}
  const char* what() const noexcept override { return message.c_str(); }
};

Failure closedFailure();
Failure corruptFailure(const std::string& message);
Failure walResetFailure();
Failure systemFailure(const char* systemCall, int errorNumber, const std::string& path = {});
Failure sqliteFailure(const SqliteHandle& handle, int resultCode, const char* action);

}  // namespace mylibsql
