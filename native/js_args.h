#pragma once
// Arguments and results. TypeScript has checked the arguments (src/worker/native.ts); what would let C++
// touch foreign memory is checked again and thrown as a TypeError.

#include <napi.h>

#include "frame_check.h"
#include "frame_source.h"

namespace mylibsql {

struct ByteSpan {
  uint8_t* data;
  size_t length;
};

ByteSpan bytesOf(Napi::Value value, const char* name);
uint32_t* words32Of(Napi::Value value, uint64_t countMin, const char* name);  // a Uint32Array with as many
uint64_t unsigned64Of(Napi::Value value, const char* name);  // a bigint
uint64_t countOf(Napi::Value value, const char* name);       // a safe integer, not negative
uint32_t count32Of(Napi::Value value, const char* name);
uint32_t pageSizeOf(Napi::Value value, const char* name);
int fdOf(Napi::Value value, const char* name);  // -1 is allowed
FrameSource frameSourceOf(Napi::Value value);
FrameRun frameRunOf(Napi::Value value);
Napi::Value makeFrameCheck(Napi::Env env, const FrameCheck& check);

}  // namespace mylibsql
