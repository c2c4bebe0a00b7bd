// Exports of the addon; the contract is src/worker/native.ts.
//
// The same file is a SQLite extension (extension.cc). It is loaded in several threads, each with its own
// environment and connections: what belongs to an environment is in AddonData, what belongs to a connection
// in Connection.
#include <napi.h>

#include "addon_data.h"
#include "crc64.h"
#include "extension.h"
#include "file_io.h"
#include "frame_pick.h"
#include "interrupts.h"
#include "js_args.h"
#include "js_error.h"
#include "lz4.h"
#include "wal_connection.h"
#include "wal_format.h"

namespace mylibsql {

namespace {

template <uint64_t (*kSum)(const void*, size_t, uint64_t)>
Napi::Value checksumOf(const Napi::CallbackInfo& info) {
  const ByteSpan bytes = bytesOf(info[0], "bytes");
  const uint64_t previous = info[1].IsUndefined() ? 0 : unsigned64Of(info[1], "previous");
  return Napi::BigInt::New(info.Env(), kSum(bytes.data, bytes.length, previous));
}

Napi::Value walChecksumsOf(const Napi::CallbackInfo& info) {
  const ByteSpan bytes = bytesOf(info[0], "bytes");
  if (bytes.length % 8 != 0) throw Napi::TypeError::New(info.Env(), "bytes must be a multiple of 8");
  const bool bigEndianWords = info[1].ToBoolean();
  const WalChecksum start{count32Of(info[2], "first"), count32Of(info[3], "second")};
  Napi::Array sums = Napi::Array::New(info.Env());
  for (const WalChecksumWay way : walChecksumWays()) {
    const WalChecksum sum = way(start, bigEndianWords, bytes.data, bytes.length);
    Napi::Array pair = Napi::Array::New(info.Env(), 2);
    pair.Set(0u, sum.first);
    pair.Set(1u, sum.second);
    sums.Set(sums.Length(), pair);
  }
  return sums;
}

Napi::Value tryLockFile(const Napi::CallbackInfo& info) {
  const int fd = fdOf(info[0], "fd");
  return Napi::Boolean::New(info.Env(), translateFailures(info.Env(), [&] { return tryLock(fd); }));
}

Napi::Value checkRun(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const FrameSource source = frameSourceOf(info[0]);
  const FrameRun run = frameRunOf(info[1]);
  uint32_t* const pageNos = info[2].IsUndefined() ? nullptr : words32Of(info[2], run.frameCount, "pageNos");
  return makeFrameCheck(env, translateFailures(env, [&] { return checkFrames(source, run, pageNos); }));
}

Napi::Value pickRun(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const FrameSource source = frameSourceOf(info[0]);
  const FrameRun run = frameRunOf(info[1]);
  const ByteSpan isPicked = bytesOf(info[2], "isPicked");
  if (isPicked.length < run.frameCount) {
    throw Napi::TypeError::New(env, "isPicked must have a byte for each frame");
  }
  const int fd = fdOf(info[3], "fd");
  const auto byteOffset = static_cast<int64_t>(countOf(info[4], "byteOffset"));
  const uint64_t startChecksum = unsigned64Of(info[5], "startChecksum");
  const bool endsLog = info[6].ToBoolean();
  const PickedFrames picked = translateFailures(
      env, [&] { return pickFrames(source, run, isPicked.data, fd, byteOffset, startChecksum, endsLog); });
  Napi::Object result = Napi::Object::New(env);
  result.Set("check", makeFrameCheck(env, picked.check));
  result.Set("checksum", Napi::BigInt::New(env, picked.checksum));
  return result;
}

Napi::Value rewriteRun(const Napi::CallbackInfo& info) {
  const FrameSource source = frameSourceOf(info[0]);
  const FrameRun run = frameRunOf(info[1]);
  const int toVersion = countOf(info[2], "toVersion") == 2 ? 2 : 3;
  const int fd = fdOf(info[3], "fd");
  const auto byteOffset = static_cast<int64_t>(countOf(info[4], "byteOffset"));
  const uint64_t startChecksum = unsigned64Of(info[5], "startChecksum");
  const uint64_t checksum = translateFailures(
      info.Env(), [&] { return rewriteFrames(source, run, toVersion, fd, byteOffset, startChecksum); });
  return Napi::BigInt::New(info.Env(), checksum);
}

Napi::Value applyRun(const Napi::CallbackInfo& info) {
  const FrameSource source = frameSourceOf(info[0]);
  const FrameRun run = frameRunOf(info[1]);
  const int databaseFd = fdOf(info[2], "databaseFd");
  const uint32_t pageCount =
      translateFailures(info.Env(), [&] { return applyFrames(source, run, databaseFd); });
  return Napi::Number::New(info.Env(), pageCount);
}

Napi::Value copyWholeFile(const Napi::CallbackInfo& info) {
  const int sourceFd = fdOf(info[0], "sourceFd");
  const int targetFd = fdOf(info[1], "targetFd");
  const auto byteLength = static_cast<int64_t>(countOf(info[2], "byteLength"));
  const uint64_t checksum =
      translateFailures(info.Env(), [&] { return copyFile(sourceFd, targetFd, byteLength); });
  return Napi::BigInt::New(info.Env(), checksum);
}

Napi::Value packLz4(const Napi::CallbackInfo& info) {
  const ByteSpan source = bytesOf(info[0], "source");
  const ByteSpan target = bytesOf(info[1], "target");
  if (source.length > UINT32_MAX || target.length < lz4BytesMax(source.length)) {
    throw Napi::TypeError::New(info.Env(), "target must have room for what does not become smaller");
  }
  const size_t length = lz4Compress(source.data, source.length, target.data);
  return Napi::Number::New(info.Env(), static_cast<double>(length));
}

Napi::Value unpackLz4(const Napi::CallbackInfo& info) {
  const ByteSpan source = bytesOf(info[0], "source");
  const ByteSpan target = bytesOf(info[1], "target");
  return Napi::Boolean::New(info.Env(), lz4Decompress(source.data, source.length, target.data, target.length));
}

Napi::Value lastConnectionId(const Napi::CallbackInfo& info) {
  const std::shared_ptr<Connection> connection = lastLoadedConnection();
  // One that JavaScript still holds may be closed.
  const bool isOpen = connection != nullptr && connection->isOpen();
  return Napi::Number::New(info.Env(), isOpen ? connection->id : 0);
}

Napi::Value interruptById(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), interruptConnection(count32Of(info[0], "connectionId")));
}

CallWords callWordsOf(const Napi::CallbackInfo& info) {
  const uint64_t at = countOf(info[1], "at");
  uint32_t* const words = words32Of(info[0], at + 2, "words");
  return {words + at, words + at + 1};
}

Napi::Value interruptRunningCall(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), interruptCall(callWordsOf(info)));
}

Napi::Value endRunningCall(const Napi::CallbackInfo& info) {
  endCall(callWordsOf(info));
  return info.Env().Undefined();
}

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  auto data = std::make_unique<AddonData>();
  data->walConnection = Napi::Persistent(WalConnection::define(env));
  env.SetInstanceData(data.release());

  exports.Set("attach", Napi::Function::New<WalConnection::attach>(env, "attach"));
  exports.Set("connectionId", Napi::Function::New<lastConnectionId>(env, "connectionId"));
  exports.Set("interrupt", Napi::Function::New<interruptById>(env, "interrupt"));
  exports.Set("interruptCall", Napi::Function::New<interruptRunningCall>(env, "interruptCall"));
  exports.Set("endCall", Napi::Function::New<endRunningCall>(env, "endCall"));
  exports.Set("crc64", Napi::Function::New<checksumOf<crc64>>(env, "crc64"));
  exports.Set("crc64Portable", Napi::Function::New<checksumOf<crc64Portable>>(env, "crc64Portable"));
  exports.Set("walChecksums", Napi::Function::New<walChecksumsOf>(env, "walChecksums"));
  exports.Set("tryLock", Napi::Function::New<tryLockFile>(env, "tryLock"));
  exports.Set("checkFrames", Napi::Function::New<checkRun>(env, "checkFrames"));
  exports.Set("pickFrames", Napi::Function::New<pickRun>(env, "pickFrames"));
  exports.Set("rewriteFrames", Napi::Function::New<rewriteRun>(env, "rewriteFrames"));
  exports.Set("applyFrames", Napi::Function::New<applyRun>(env, "applyFrames"));
  exports.Set("copyFile", Napi::Function::New<copyWholeFile>(env, "copyFile"));
  exports.Set("packLz4", Napi::Function::New<packLz4>(env, "packLz4"));
  exports.Set("unpackLz4", Napi::Function::New<unpackLz4>(env, "unpackLz4"));
  return exports;
}

NODE_API_MODULE(mylibsql, initialize)

}  // namespace

}  // namespace mylibsql
