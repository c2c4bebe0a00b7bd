#pragma once
// WalConnection of the contract (src/worker/native.ts).

#include <napi.h>

#include <memory>

#include "connection.h"

namespace mylibsql {

class WalConnection : public Napi::ObjectWrap<WalConnection> {
 public:
  static Napi::Function define(Napi::Env env);
  // attach(options) of the contract.
  static Napi::Value attach(const Napi::CallbackInfo& info);

  explicit WalConnection(const Napi::CallbackInfo& info);

 private:
  Napi::Value getIsOpen(const Napi::CallbackInfo& info);
  Napi::Value getHookFrameCount(const Napi::CallbackInfo& info);
  Napi::Value position(const Napi::CallbackInfo& info);
  Napi::Value getPositionWords(const Napi::CallbackInfo& info);
  void readPosition(const Napi::CallbackInfo& info);
  Napi::Value readFrames(const Napi::CallbackInfo& info);
  Napi::Value copyFramesSync(const Napi::CallbackInfo& info);
  Napi::Value copyFrames(const Napi::CallbackInfo& info);
  Napi::Value inject(const Napi::CallbackInfo& info);
  Napi::Value fold(const Napi::CallbackInfo& info);
  Napi::Value foldSync(const Napi::CallbackInfo& info);
  void allowRestartAt(const Napi::CallbackInfo& info);
  Napi::Value copyDatabase(const Napi::CallbackInfo& info);
  Napi::Value hasDeferredViolation(const Napi::CallbackInfo& info);
  Napi::Value countCommits(const Napi::CallbackInfo& info);
  void interrupt(const Napi::CallbackInfo& info);
  Napi::Value takeRefusal(const Napi::CallbackInfo& info);
  void setCheckpointOnClose(const Napi::CallbackInfo& info);
  void noticeInterrupts(const Napi::CallbackInfo& info);
  Napi::Value holdTransaction(const Napi::CallbackInfo& info);
  void close(const Napi::CallbackInfo& info);

  std::shared_ptr<Connection> connection_;
  // What readPosition() writes to: an object made for each commit would cost more than reading the header.
  Napi::Reference<Napi::Uint32Array> positionWords_;
  uint32_t* positionData_;
};

}  // namespace mylibsql
