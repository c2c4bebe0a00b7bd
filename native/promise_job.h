#pragma once
// Work on a libuv thread that settles a promise.
//
// Node waits for work in flight before it tears an environment down (worker.terminate()), and then calls
// complete in an environment that runs no JavaScript any more: hence the C interface there, whose results are
// ignored.

#include <napi.h>

#include <memory>
#include <optional>

#include "connection.h"
#include "failure.h"

namespace mylibsql {

class PromiseJob {
 public:
  // Queues the job and returns its promise. Thread of the environment.
  static Napi::Value start(Napi::Env env, std::unique_ptr<PromiseJob> job);

  virtual ~PromiseJob() = default;

 protected:
  explicit PromiseJob(std::shared_ptr<Connection> connection) : connection_(std::move(connection)) {}

  // On a libuv thread, inside the gate of the connection. Throws Failure.
  virtual void run() = 0;
  // Thread of the environment, whether it failed or not: gives back what was borrowed. Throws Failure.
  virtual void finish() {}
  // Thread of the environment. Null when the environment does not make values any more.
  virtual napi_value result(napi_env env) = 0;

  Connection& connection() { return *connection_; }

 private:
  static void execute(napi_env env, void* data);
  static void complete(napi_env env, napi_status status, void* data);
  void runInsideGate();
  void finishAfter(napi_status status);

  const std::shared_ptr<Connection> connection_;
  std::optional<Failure> failure_;
  napi_async_work work_ = nullptr;
  napi_deferred deferred_ = nullptr;
};

}  // namespace mylibsql
