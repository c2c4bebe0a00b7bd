#pragma once
#include "connection.h"
#include "frame_source.h"

namespace mylibsql {

// Appends frame records, which have been checked, to the WAL of the connection and publishes them as one
// step: readers see all of them or none. The last one must be a commit. On any failure nothing is published.
void injectFrames(Connection& connection, const FrameSource& source, uint32_t frameCount, uint32_t pageSize);

}  // namespace mylibsql
