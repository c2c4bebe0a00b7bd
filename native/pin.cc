#include "pin.h"

#include "addon_data.h"
#include "js_error.h"

namespace mylibsql {

Napi::Function Pin::define(Napi::Env env) {
  return DefineClass(
      env, "Pin",
      {InstanceAccessor<&Pin::getHolds>("holds"), InstanceAccessor<&Pin::getFrameCount>("frameCount"),
       InstanceMethod<&Pin::release>("release")});
}

Napi::Value Pin::create(Napi::Env env, std::shared_ptr<Connection> connection) {
  const auto external = Napi::External<std::shared_ptr<Connection>>::New(env, &connection);
  return env.GetInstanceData<AddonData>()->pin.New({external});
}

Pin::Pin(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Pin>(info) {
  connection_ = *info[0].As<Napi::External<std::shared_ptr<Connection>>>().Data();
  translateFailures(info.Env(), [this] {
    SideConnection* const side = connection_->borrowSide();
    try {
      transaction_ = side->beginRead();
    } catch (...) {
      connection_->giveBackSide(side);
      throw;
    }
    side_ = side;
  });
}

// Collected or torn down without release(). The connection may have been closed before, with the read
// transaction.
Pin::~Pin() { endRead(); }

void Pin::endRead() {
  if (side_ != nullptr && connection_->isOpen()) {
    side_->endRead();
    connection_->giveBackSide(side_);
  }
  side_ = nullptr;
}

Napi::Value Pin::getHolds(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), transaction_.holdsWal);
}

Napi::Value Pin::getFrameCount(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), transaction_.state.header.frameCount);
}

void Pin::release(const Napi::CallbackInfo&) { endRead(); }

}  // namespace mylibsql
