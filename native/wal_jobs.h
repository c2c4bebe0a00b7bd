#pragma once
// The jobs of WalConnection that run on libuv threads. Each takes what it needs on the thread of the
// connection.

#include "database_copy.h"
#include "promise_job.h"
#include "wal_file.h"

namespace mylibsql {

// Reads the range into file `fd`; returns the checksum of its last frame. Any thread.
uint64_t copyRange(WalRange range, int fd, int64_t byteOffset, JobGate& gate);

class CopyFramesJob : public PromiseJob {
 public:
  CopyFramesJob(std::shared_ptr<Connection> connection, WalRange range, int fd, int64_t byteOffset);

 protected:
  void run() override;
  void finish() override;
  napi_value result(napi_env env) override;

 private:
  const WalRange range_;
  const int fd_;
  const int64_t byteOffset_;
  uint64_t checksum_ = 0;
};

class FoldJob : public PromiseJob {
 public:
  explicit FoldJob(std::shared_ptr<Connection> connection);

 protected:
  void run() override;
  void finish() override;
  napi_value result(napi_env env) override;

 private:
  const std::shared_ptr<const WalFile> wal_;
  SideConnection* const side_;
  FoldResult folded_{};
};

class CopyDatabaseJob : public PromiseJob {
 public:
  CopyDatabaseJob(std::shared_ptr<Connection> connection, int fd);

 protected:
  void run() override;
  void finish() override;
  napi_value result(napi_env env) override;

 private:
  const std::shared_ptr<const WalFile> wal_;
  SideConnection* const side_;
  const int fd_;
  ReadTransaction transaction_;
  DatabaseCopy copy_;
};

napi_value makeFoldResult(napi_env env, const FoldResult& folded);

}  // namespace mylibsql
