#pragma once
// Interrupts from other threads: sqlite3_interrupt() is of use only while the connection's own thread is busy.

#include <cstdint>

#include "sqlite_handle.h"

namespace mylibsql {

// Process-wide numbers of open connections, from 1 on and never used twice.
uint32_t registerForInterrupts(const SqliteHandle& handle);

// Before the connection closes. Waits for an interrupt of it that is under way.
void unregisterForInterrupts(uint32_t connectionId);

// Makes what the connection is running fail with SQLITE_INTERRUPT; from any thread. False: no such connection.
bool interruptConnection(uint32_t connectionId);

}  // namespace mylibsql
