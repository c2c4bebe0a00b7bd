#include "interrupts.h"

#include <map>
#include <mutex>

namespace mylibsql {

namespace {

struct OpenConnection {
  SqliteHandle handle;
  std::atomic<bool>* pending;
};

// Never destroyed: threads may still close connections while the process exits.
struct Registry {
  std::mutex mutex;
  std::map<uint32_t, OpenConnection> open;
  uint32_t lastId = 0;
};

Registry& registry() {
  static Registry* const instance = new Registry;
  return *instance;
}

bool interrupt(const Registry& connections, uint32_t connectionId) {
  const auto found = connections.open.find(connectionId);
  if (found == connections.open.end()) return false;
  const OpenConnection& connection = found->second;
  connection.pending->store(true, std::memory_order_relaxed);
  connection.handle.api->interruptx(connection.handle.db);
  return true;
}

}  // namespace

uint32_t registerForInterrupts(const SqliteHandle& handle, std::atomic<bool>* pending) {
  Registry& connections = registry();
  const std::lock_guard<std::mutex> lock(connections.mutex);
  const uint32_t id = ++connections.lastId;
  connections.open.emplace(id, OpenConnection{handle, pending});
  return id;
}

void unregisterForInterrupts(uint32_t connectionId) {
  Registry& connections = registry();
  const std::lock_guard<std::mutex> lock(connections.mutex);
  connections.open.erase(connectionId);
}

bool interruptConnection(uint32_t connectionId) {
  Registry& connections = registry();
  // Held during the call: a connection that is registered cannot close meanwhile.
  const std::lock_guard<std::mutex> lock(connections.mutex);
  return interrupt(connections, connectionId);
}

bool interruptCall(const CallWords& call) {
  constexpr uint32_t kInterrupted = 4;
  Registry& connections = registry();
  // Held during the call: nor does the connection go on to the next one meanwhile.
  const std::lock_guard<std::mutex> lock(connections.mutex);
  // The words may belong to another call by now.
  if (__atomic_load_n(call.state, __ATOMIC_SEQ_CST) != kInterrupted) return false;
  return interrupt(connections, __atomic_load_n(call.connectionId, __ATOMIC_SEQ_CST));
}

void endCall(const CallWords& call) {
  const std::lock_guard<std::mutex> lock(registry().mutex);
  __atomic_store_n(call.connectionId, 0, __ATOMIC_SEQ_CST);
}

}  // namespace mylibsql
