#pragma once
// What an instance of the addon keeps: one per environment, that is, per thread.

#include <napi.h>

namespace mylibsql {

struct AddonData {
  Napi::FunctionReference walConnection;  // constructors
};

}  // namespace mylibsql
