#pragma once
#include "connection.h"
#include "frame_check.h"

namespace mylibsql {

// Checks frame records and appends them to the WAL of the connection as one step: readers see all of them or
// none. They must end a transaction, with `endChecksum` when one is named. When the result names a bad record,
// or on a failure, nothing is published.
FrameCheck injectFrames(Connection& connection, const FrameSource& source, const FrameRun& run,
                        const std::optional<uint64_t>& endChecksum);

}  // namespace mylibsql
