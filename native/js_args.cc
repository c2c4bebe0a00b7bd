#include "js_args.h"

#include <cmath>

namespace mylibsql {

namespace {

constexpr double kSafeIntegerMax = 9007199254740991.0;

[[noreturn]] void refuse(Napi::Value value, const char* name, const char* expected) {
  const std::string got = value.ToString().Utf8Value();
  throw Napi::TypeError::New(value.Env(), std::string(name) + " must be " + expected + ", got " + got);
}

}  // namespace

ByteSpan bytesOf(Napi::Value value, const char* name) {
  bool isTypedArray = false;
  napi_is_typedarray(value.Env(), value, &isTypedArray);
  napi_typedarray_type type = napi_int8_array;
  void* data = nullptr;
  size_t length = 0;
  if (isTypedArray) napi_get_typedarray_info(value.Env(), value, &type, &length, &data, nullptr, nullptr);
  if (type != napi_uint8_array) refuse(value, name, "a Uint8Array");
  return {static_cast<uint8_t*>(data), length};
}

uint32_t* words32Of(Napi::Value value, uint64_t countMin, const char* name) {
  const bool isWords =
      value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == napi_uint32_array;
  if (!isWords || value.As<Napi::Uint32Array>().ElementLength() < countMin) {
    refuse(value, name, "a Uint32Array that is long enough");
  }
  return value.As<Napi::Uint32Array>().Data();
}

uint64_t unsigned64Of(Napi::Value value, const char* name) {
  bool isLossless = false;
  if (!value.IsBigInt()) refuse(value, name, "a bigint");
  const uint64_t number = value.As<Napi::BigInt>().Uint64Value(&isLossless);
  if (!isLossless) refuse(value, name, "a bigint of 64 bits, not negative");
  return number;
}

uint64_t countOf(Napi::Value value, const char* name) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!(number >= 0 && number <= kSafeIntegerMax) || std::floor(number) != number) {
    refuse(value, name, "a safe integer, not negative");
  }
  return static_cast<uint64_t>(number);
}

uint32_t count32Of(Napi::Value value, const char* name) {
  const uint64_t number = countOf(value, name);
  if (number > UINT32_MAX) refuse(value, name, "an integer of 32 bits, not negative");
  return static_cast<uint32_t>(number);
}

uint32_t pageSizeOf(Napi::Value value, const char* name) {
  const uint64_t number = countOf(value, name);
  const bool isPowerOf2 = (number & (number - 1)) == 0;
  if (number < 512 || number > 65536 || !isPowerOf2) refuse(value, name, "a power of two from 512 to 65536");
  return static_cast<uint32_t>(number);
}

int fdOf(Napi::Value value, const char* name) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -2;
  if (!(number >= -1 && number <= INT32_MAX) || std::floor(number) != number)
    refuse(value, name, "a file descriptor");
  return static_cast<int>(number);
}

FrameSource frameSourceOf(Napi::Value value) {
  if (!value.IsObject()) refuse(value, "source", "an object with bytes, or with fd and byteOffset");
  const auto object = value.As<Napi::Object>();
  FrameSource source;
  const Napi::Value bytes = object.Get("bytes");
  if (!bytes.IsUndefined()) {
    const ByteSpan span = bytesOf(bytes, "source.bytes");
    source.bytes = span.data;
    source.byteLength = span.length;
    return source;
  }
  const Napi::Value fd = object.Get("fd");
  source.fd = fdOf(fd, "source.fd");
  if (source.fd < 0) refuse(fd, "source.fd", "an open file descriptor");
  source.byteOffset = static_cast<int64_t>(countOf(object.Get("byteOffset"), "source.byteOffset"));
  return source;
}

FrameRun frameRunOf(Napi::Value value) {
  if (!value.IsObject()) refuse(value, "run", "an object");
  const auto object = value.As<Napi::Object>();
  FrameRun run;
  run.frameCount = countOf(object.Get("frameCount"), "run.frameCount");
  run.pageSize = pageSizeOf(object.Get("pageSize"), "run.pageSize");
  run.startFrameNo = countOf(object.Get("startFrameNo"), "run.startFrameNo");
  run.version = countOf(object.Get("version"), "run.version") == 2 ? 2 : 3;
  run.fileStartChecksum = unsigned64Of(object.Get("fileStartChecksum"), "run.fileStartChecksum");
  run.startChecksum = unsigned64Of(object.Get("startChecksum"), "run.startChecksum");
  const Napi::Value mergedEndFrameNo = object.Get("mergedEndFrameNo");
  if (!mergedEndFrameNo.IsUndefined()) {
    run.mergedEndFrameNo = countOf(mergedEndFrameNo, "run.mergedEndFrameNo");
  }
  return run;
}

Napi::Value makeFrameCheck(Napi::Env env, const FrameCheck& check) {
  Napi::Object result = Napi::Object::New(env);
  result.Set("endChecksum", Napi::BigInt::New(env, check.endChecksum));
  result.Set("badIndex", Napi::Number::New(env, static_cast<double>(check.badIndex)));
  result.Set("reason", check.reason != nullptr ? Napi::String::New(env, check.reason) : env.Undefined());
  result.Set("lastSizeAfter", Napi::Number::New(env, check.lastSizeAfter));
  return result;
}

}  // namespace mylibsql
