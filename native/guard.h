#pragma once
// The authorizer that refuses what would break the capture of frames, with a reason.

#include <optional>
#include <string>

#include "sqlite_handle.h"

namespace mylibsql {

class Guard {
 public:
  // Sets or removes the authorizer of a connection. The guard must live as long as it.
  void install(const SqliteHandle& handle, bool on);
  // Why something was refused since the last call, and forgets it.
  std::optional<std::string> takeRefusal();

  int authorize(int action, const char* first, const char* second, const char* schema);

 private:
  std::optional<std::string> refusal_;
};

}  // namespace mylibsql
