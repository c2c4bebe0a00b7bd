#pragma once
#include <memory>

#include "connection.h"

namespace mylibsql {

// The connection that loaded the extension last on this thread, or null.
std::shared_ptr<Connection> lastLoadedConnection();

}  // namespace mylibsql
