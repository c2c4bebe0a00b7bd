#pragma once
#include "job_gate.h"
#include "side_connection.h"
#include "wal_file.h"

namespace mylibsql {

struct DatabaseCopy {
  uint32_t pageCount = 0;
  uint32_t pageSize = 0;
  uint64_t checksum = 0;  // CRC-64 of the bytes written
};

// Writes the database as the read transaction of `side` sees it to `targetFd`, from offset 0. On any thread;
// stops with ERR_CLOSED when the gate is shut.
DatabaseCopy copyDatabase(const SideConnection& side, const ReadTransaction& transaction, const WalFile& wal,
                          int targetFd, JobGate& gate);

}  // namespace mylibsql
