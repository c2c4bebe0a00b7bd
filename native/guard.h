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

  // While held, no transaction can be begun or ended, also not by a statement that would commit by itself.
  void holdTransaction(bool on);
  // Whether a SAVEPOINT, RELEASE or ROLLBACK TO was prepared while it was held the last time.
  bool preparedSavepoint() const { return preparedSavepoint_; }

  int authorize(int action, const char* first, const char* second, const char* schema);
  bool refusesCommit() const { return isTransactionHeld_; }

 private:
  std::optional<std::string> refusal_;
  bool isTransactionHeld_ = false;
  bool preparedSavepoint_ = false;
};

}  // namespace mylibsql
