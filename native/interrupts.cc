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
  const auto found = connections.open.find(connectionId);
  if (found == connections.open.end()) return false;
  const OpenConnection& connection = found->second;
  connection.pending->store(true, std::memory_order_relaxed);
  connection.handle.api->interruptx(connection.handle.db);
  return true;
}

}  // namespace mylibsql
