#pragma once
// Failures as JavaScript errors.

#include <napi.h>

#include "failure.h"

namespace mylibsql {

// An Error with `code`, and where they belong `sqlite: true`, `errno` and `syscall`. Null when the
// environment is being torn down. Uses the C interface: it must not throw then.
napi_value makeError(napi_env env, const Failure& failure);

// Runs what may fail on the thread of the environment.
template <typename Body>
auto translateFailures(napi_env env, Body body) {
  try {
    return body();
  } catch (const Failure& failure) {
    throw Napi::Error(env, makeError(env, failure));
  } catch (const std::bad_alloc&) {
    throw Napi::Error(env, makeError(env, Failure("ERR_IO", "out of memory")));
  }
}

}  // namespace mylibsql
