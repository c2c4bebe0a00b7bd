#pragma once
// Some of the frames of a run as records of another log, for merging: those that a later one replaces are left
// out.

#include "frame_check.h"

namespace mylibsql {

struct PickedFrames {
  FrameCheck check;   // of the whole run
  uint64_t checksum;  // of the last record that was written, `startChecksum` when there is none
};

// Checks a run and writes the records for which there is a byte in `isPicked` that is not 0 to `fd` from
// `byteOffset` on, with their numbers, chained from `startChecksum`. They end no transaction, but for the last
// record of the run when it `endsLog`. When the check is bad, what was written means nothing.
PickedFrames pickFrames(const FrameSource& source, const FrameRun& run, const uint8_t* isPicked, int fd,
                        int64_t byteOffset, uint64_t startChecksum, bool endsLog);

}  // namespace mylibsql
