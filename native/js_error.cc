#include "js_error.h"

namespace mylibsql {

namespace {

void setText(napi_env env, napi_value object, const char* name, const std::string& text) {
  napi_value value;
  if (napi_create_string_utf8(env, text.data(), text.size(), &value) == napi_ok) {
    napi_set_named_property(env, object, name, value);
  }
}

}  // namespace

napi_value makeError(napi_env env, const Failure& failure) {
  napi_value message;
  napi_value error;
  if (napi_create_string_utf8(env, failure.message.data(), failure.message.size(), &message) != napi_ok ||
      napi_create_error(env, nullptr, message, &error) != napi_ok) {
    return nullptr;
  }
  setText(env, error, "code", failure.code);
  napi_value value;
  if (failure.fromSqlite && napi_get_boolean(env, true, &value) == napi_ok) {
    napi_set_named_property(env, error, "sqlite", value);
  }
  if (failure.errorNumber != 0 && napi_create_int32(env, failure.errorNumber, &value) == napi_ok) {
    napi_set_named_property(env, error, "errno", value);
    setText(env, error, "errnoName", failure.errorName);
    setText(env, error, "syscall", failure.systemCall);
    if (!failure.path.empty()) setText(env, error, "path", failure.path);
  }
  return error;
}

}  // namespace mylibsql
