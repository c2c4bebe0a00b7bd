#pragma once
// Interrupts from other threads: sqlite3_interrupt() is of use only while the connection's own thread is busy.

#include <atomic>
#include <cstdint>

#include "sqlite_handle.h"

namespace mylibsql {

// Process-wide numbers of open connections, from 1 on and never used twice. `pending` is set by each interrupt, for
// the connection to notice between two statements, where sqlite3_interrupt() has no effect.
uint32_t registerForInterrupts(const SqliteHandle& handle, std::atomic<bool>* pending);

// Before the connection closes. Waits for an interrupt of it that is under way.
void unregisterForInterrupts(uint32_t connectionId);

// Makes what the connection is running, or runs next, fail with SQLITE_INTERRUPT; from any thread. False: no such connection.
bool interruptConnection(uint32_t connectionId);

// A call that can be given up, as two words that threads share (src/protocol/cancellation.ts): its state, and the number of
// the connection that runs it, 0 for none.
struct CallWords {
  uint32_t* state;
  uint32_t* connectionId;
};

// The same of the connection that runs a call which was given up. False: none does, any more.
bool interruptCall(const CallWords& call);

// The call does not run any more: once this returns, nothing that is meant for it interrupts its connection.
void endCall(const CallWords& call);

}  // namespace mylibsql
