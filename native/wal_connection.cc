#include "wal_connection.h"

#include "addon_data.h"
#include "bytes.h"
#include "extension.h"
#include "frame_injector.h"
#include "frame_record.h"
#include "js_args.h"
#include "js_error.h"
#include "wal_format.h"
#include "wal_jobs.h"

namespace mylibsql {

namespace {

constexpr size_t kPositionWords = 5;

// Arguments walIndex, frameCount, startFrameNo, checksum, from `first` on, against the WAL as it stands.
WalRange rangeOf(const Napi::CallbackInfo& info, size_t first, Connection& connection) {
  const uint32_t walIndex = count32Of(info[first], "walIndex");
  const uint32_t frameCount = count32Of(info[first + 1], "frameCount");
  const uint64_t startFrameNo = countOf(info[first + 2], "startFrameNo");
  const uint64_t checksum = unsigned64Of(info[first + 3], "checksum");
  const WalState state = connection.walState();
  const bool isCommitted =
      walIndex >= 1 && uint64_t{walIndex} + frameCount <= uint64_t{state.header.frameCount} + 1;
  if (frameCount > 0 && !isCommitted) throw walResetFailure();
  return {connection.walFile(),
          state.header.salts,
          state.header.pageSize(),
          walIndex,
          frameCount,
          startFrameNo,
          checksum};
}

// See CopyFramesJob::finish.
void requireSameGeneration(Connection& connection, const WalRange& range) {
  if (connection.walState().header.salts != range.salts) throw walResetFailure();
}

}  // namespace

Napi::Function WalConnection::define(Napi::Env env) {
  using This = WalConnection;
  return DefineClass(env, "WalConnection",
                     {
                         InstanceAccessor<&This::getIsOpen>("isOpen"),
                         InstanceAccessor<&This::getHookFrameCount>("hookFrameCount"),
                         InstanceMethod<&This::position>("position"),
                         InstanceAccessor<&This::getPositionWords>("positionWords"),
                         InstanceMethod<&This::readPosition>("readPosition"),
                         InstanceMethod<&This::readFrames>("readFrames"),
                         InstanceMethod<&This::copyFramesSync>("copyFramesSync"),
                         InstanceMethod<&This::copyFrames>("copyFrames"),
                         InstanceMethod<&This::inject>("inject"),
                         InstanceMethod<&This::fold>("fold"),
                         InstanceMethod<&This::foldSync>("foldSync"),
                         InstanceMethod<&This::allowRestartAt>("allowRestartAt"),
                         InstanceMethod<&This::copyDatabase>("copyDatabase"),
                         InstanceMethod<&This::countCommits>("countCommits"),
                         InstanceMethod<&This::hasDeferredViolation>("hasDeferredViolation"),
                         InstanceMethod<&This::interrupt>("interrupt"),
                         InstanceMethod<&This::takeRefusal>("takeRefusal"),
                         InstanceMethod<&This::setCheckpointOnClose>("setCheckpointOnClose"),
                         InstanceMethod<&This::noticeInterrupts>("noticeInterrupts"),
                         InstanceMethod<&This::holdTransaction>("holdTransaction"),
                         InstanceMethod<&This::close>("close"),
                     });
}

Napi::Value WalConnection::attach(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const bool guarded = info[0].IsObject() && info[0].As<Napi::Object>().Get("guard").ToBoolean();
  return translateFailures(env, [&]() -> Napi::Value {
    std::shared_ptr<Connection> connection = lastLoadedConnection();
    if (connection == nullptr) {
      throw Failure("ERR_CLOSED", "no open connection has loaded the extension on this thread");
    }
    connection->prepare(guarded);
    const auto external = Napi::External<std::shared_ptr<Connection>>::New(env, &connection);
    return env.GetInstanceData<AddonData>()->walConnection.New({external});
  });
}

WalConnection::WalConnection(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<WalConnection>(info),
      connection_(*info[0].As<Napi::External<std::shared_ptr<Connection>>>().Data()) {
  Napi::Uint32Array words = Napi::Uint32Array::New(info.Env(), kPositionWords);
  positionWords_ = Napi::Persistent(words);
  positionData_ = words.Data();
}

Napi::Value WalConnection::getIsOpen(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), connection_->isOpen());
}

Napi::Value WalConnection::getHookFrameCount(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), connection_->hookFrameCount);
}

Napi::Value WalConnection::position(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const WalState state = translateFailures(env, [this] { return connection_->walState(); });
  const WalIndexHeader& header = state.header;
  Napi::Object position = Napi::Object::New(env);
  position.Set("frameCount", header.frameCount);
  position.Set("foldedCount", state.foldedCount);
  position.Set("salt1", loadBig32(header.salts.data()));
  position.Set("salt2", loadBig32(header.salts.data() + 4));
  position.Set("pageCount", header.frameCount == 0 ? 0 : header.pageCount);
  position.Set("pageSize", header.pageSize());
  position.Set("changeCount", header.changeCount);
  return position;
}

Napi::Value WalConnection::getPositionWords(const Napi::CallbackInfo& info) { return positionWords_.Value(); }

void WalConnection::readPosition(const Napi::CallbackInfo& info) {
  const WalState state = translateFailures(info.Env(), [this] { return connection_->walState(); });
  const WalIndexHeader& header = state.header;
  positionData_[0] = header.frameCount;
  positionData_[1] = state.foldedCount;
  positionData_[2] = loadBig32(header.salts.data());
  positionData_[3] = loadBig32(header.salts.data() + 4);
  positionData_[4] = header.changeCount;
}

Napi::Value WalConnection::readFrames(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return translateFailures(env, [&]() -> Napi::Value {
    WalRange range = rangeOf(info, 1, *connection_);
    const WalRange whole = range;
    if (const WalWriteBuffer* const buffer = connection_->writeBuffer())
      range.frames = buffer->committedAt(walFrameOffset(range.walIndex, range.pageSize),
                                         range.frameCount * recordBytes(range.pageSize));
    const size_t stride = recordBytes(range.pageSize);
    const uint32_t chunkFrames = framesPerChunk(range.pageSize);
    if (info[0].IsUndefined()) {
      const std::unique_ptr<uint8_t[]> chunk(new uint8_t[chunkFrames * stride]);
      while (range.frameCount > 0) range.read(chunk.get(), chunkFrames);
    } else {
      const ByteSpan target = bytesOf(info[0], "target");
      if (target.length / stride < range.frameCount) {
        throw Napi::TypeError::New(env, "target must have room for " + std::to_string(range.frameCount) +
                                            " frame records, got " + std::to_string(target.length) +
                                            " bytes");
      }
      for (uint8_t* records = target.data; range.frameCount > 0;)
        records += range.read(records, chunkFrames) * stride;
    }
    requireSameGeneration(*connection_, whole);
    return Napi::BigInt::New(env, range.checksum);
  });
}

Napi::Value WalConnection::copyFramesSync(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return translateFailures(env, [&]() -> Napi::Value {
    const int fd = fdOf(info[0], "fd");
    const auto byteOffset = static_cast<int64_t>(countOf(info[1], "byteOffset"));
    const WalRange range = rangeOf(info, 2, *connection_);
    const uint64_t checksum = copyRange(range, fd, byteOffset, connection_->gate);
    requireSameGeneration(*connection_, range);
    return Napi::BigInt::New(env, checksum);
  });
}

Napi::Value WalConnection::copyFrames(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return translateFailures(env, [&]() -> Napi::Value {
    const int fd = fdOf(info[0], "fd");
    const auto byteOffset = static_cast<int64_t>(countOf(info[1], "byteOffset"));
    WalRange range = rangeOf(info, 2, *connection_);
    return PromiseJob::start(env,
                             std::make_unique<CopyFramesJob>(connection_, std::move(range), fd, byteOffset));
  });
}

Napi::Value WalConnection::inject(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return translateFailures(env, [&] {
    const FrameSource source = frameSourceOf(info[0]);
    const FrameRun run = frameRunOf(info[1]);
    std::optional<uint64_t> endChecksum;
    if (!info[2].IsUndefined()) endChecksum = unsigned64Of(info[2], "endChecksum");
    return makeFrameCheck(env, injectFrames(*connection_, source, run, endChecksum));
  });
}

Napi::Value WalConnection::fold(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return translateFailures(env,
                           [&] { return PromiseJob::start(env, std::make_unique<FoldJob>(connection_)); });
}

Napi::Value WalConnection::foldSync(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string mode = info[0].ToString().Utf8Value();
  if (mode != "passive" && mode != "truncate") {
    throw Napi::TypeError::New(env, "mode must be 'passive' or 'truncate', got " + mode);
  }
  return translateFailures(env, [&]() -> Napi::Value {
    SideConnection* const side = connection_->beginFold();
    try {
      WriterLocks* const locks = connection_->writerLocks();
      if (mode == "truncate" && locks != nullptr) locks->releaseWriteLock();
      const FoldResult folded =
          mode == "truncate" ? side->foldAndTruncate() : side->fold(*connection_->walFile());
      connection_->endFold();
      return Napi::Value(env, makeFoldResult(env, folded));
    } catch (...) {
      connection_->endFold();
      throw;
    }
  });
}

void WalConnection::allowRestartAt(const Napi::CallbackInfo& info) {
  translateFailures(info.Env(), [&] {
    connection_->handle();
    WriterLocks* const locks = connection_->writerLocks();
    if (locks == nullptr) return;
    if (info[0].IsUndefined()) locks->allowRestart();
    else locks->allowRestartAt(count32Of(info[0], "frameCount"), count32Of(info[1], "salt1"));
  });
}

Napi::Value WalConnection::copyDatabase(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return translateFailures(env, [&] {
    return PromiseJob::start(env, std::make_unique<CopyDatabaseJob>(connection_, fdOf(info[0], "fd")));
  });
}

Napi::Value WalConnection::countCommits(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return translateFailures(env, [&] {
    const WalIndexHeader header = connection_->walState().header;
    const std::shared_ptr<const WalFile> wal = connection_->walFile();
    uint32_t commitCount = 0;
    for (uint32_t walIndex = 1; walIndex <= header.frameCount; walIndex++) {
      if (wal->sizeAfter(walIndex, header.pageSize()) != 0) commitCount++;
    }
    return Napi::Number::New(env, commitCount);
  });
}

Napi::Value WalConnection::hasDeferredViolation(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return translateFailures(env, [&] {
    const SqliteHandle& handle = connection_->handle();
    int isViolated = 0;
    int unused = 0;
    handle.api->db_status(handle.db, SQLITE_DBSTATUS_DEFERRED_FKS, &isViolated, &unused, 0);
    return Napi::Boolean::New(env, isViolated != 0);
  });
}

void WalConnection::interrupt(const Napi::CallbackInfo& info) {
  translateFailures(info.Env(), [this] {
    const SqliteHandle& handle = connection_->handle();
    handle.api->interruptx(handle.db);
  });
}

Napi::Value WalConnection::takeRefusal(const Napi::CallbackInfo& info) {
  const std::optional<std::string> refusal = connection_->guard.takeRefusal();
  return refusal ? Napi::String::New(info.Env(), *refusal) : info.Env().Undefined();
}

void WalConnection::setCheckpointOnClose(const Napi::CallbackInfo& info) {
  const bool on = info[0].ToBoolean();
  translateFailures(info.Env(), [&] {
    const SqliteHandle& handle = connection_->handle();
    handle.api->db_config(handle.db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, on ? 0 : 1, nullptr);
  });
}

void WalConnection::noticeInterrupts(const Napi::CallbackInfo& info) {
  translateFailures(info.Env(), [&] { connection_->noticeInterrupts(info[0].ToBoolean()); });
}

Napi::Value WalConnection::holdTransaction(const Napi::CallbackInfo& info) {
  Guard& guard = connection_->guard;
  guard.holdTransaction(info[0].ToBoolean());
  return Napi::Boolean::New(info.Env(), guard.preparedSavepoint());
}

void WalConnection::close(const Napi::CallbackInfo&) { connection_->close(); }

}  // namespace mylibsql
