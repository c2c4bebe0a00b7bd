#pragma once
// Pin of the contract (src/worker/native.ts): a read transaction on a side connection.

#include <napi.h>

#include <memory>

#include "connection.h"

namespace mylibsql {

class Pin : public Napi::ObjectWrap<Pin> {
 public:
  static Napi::Function define(Napi::Env env);
  static Napi::Value create(Napi::Env env, std::shared_ptr<Connection> connection);

  explicit Pin(const Napi::CallbackInfo& info);
  ~Pin() override;

 private:
  Napi::Value getHolds(const Napi::CallbackInfo& info);
  Napi::Value getFrameCount(const Napi::CallbackInfo& info);
  void release(const Napi::CallbackInfo& info);
  void endRead();

  std::shared_ptr<Connection> connection_;
  SideConnection* side_ = nullptr;
  ReadTransaction transaction_;
};

}  // namespace mylibsql
