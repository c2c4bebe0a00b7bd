#pragma once
#include <string>

namespace mylibsql {

// The name of a result code as better-sqlite3 gives it in SqliteError.code: the extended one where there is
// one.
std::string sqliteResultName(int resultCode);

}  // namespace mylibsql
