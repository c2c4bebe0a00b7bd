#include "wal_jobs.h"

#include "file_io.h"
#include "frame_record.h"

namespace mylibsql {

namespace {

// Properties by the C interface (see promise_job.h); null when one cannot be made.
class ResultObject {
 public:
  explicit ResultObject(napi_env env) : env_(env) {
    if (napi_create_object(env, &object_) != napi_ok) object_ = nullptr;
  }

  ResultObject& number(const char* name, uint32_t number) {
    napi_value value;
    const napi_status status = napi_create_uint32(env_, number, &value);
    return set(name, status, value);
  }

  ResultObject& bigint(const char* name, uint64_t number) {
    napi_value value;
    const napi_status status = napi_create_bigint_uint64(env_, number, &value);
    return set(name, status, value);
  }

  napi_value value() const { return object_; }

 private:
  ResultObject& set(const char* name, napi_status status, napi_value value) {
    if (object_ != nullptr && status == napi_ok) status = napi_set_named_property(env_, object_, name, value);
    if (status != napi_ok) object_ = nullptr;
    return *this;
  }

  napi_env env_;
  napi_value object_;
};

}  // namespace

uint64_t copyRange(WalRange range, int fd, int64_t byteOffset, JobGate& gate) {
  const uint32_t chunkFrames = framesPerChunk(range.pageSize);
  const size_t stride = recordBytes(range.pageSize);
  const std::unique_ptr<uint8_t[]> chunk(new uint8_t[chunkFrames * stride]);
  while (range.frameCount > 0) {
    if (gate.isShut()) throw closedFailure();
    const uint32_t count = range.read(chunk.get(), chunkFrames);
    writeAt(fd, chunk.get(), count * stride, byteOffset);
    byteOffset += static_cast<int64_t>(count * stride);
  }
  return range.checksum;
}

CopyFramesJob::CopyFramesJob(std::shared_ptr<Connection> connection, WalRange range, int fd,
                             int64_t byteOffset)
    : PromiseJob(std::move(connection)), range_(std::move(range)), fd_(fd), byteOffset_(byteOffset) {}

void CopyFramesJob::run() { checksum_ = copyRange(range_, fd_, byteOffset_, connection().gate); }

// A restart changes the salts in the wal-index before a frame is overwritten, so unchanged salts afterwards
// prove that no frame was read half old, half new.
void CopyFramesJob::finish() {
  if (connection().isOpen() && connection().walState().header.salts != range_.salts) throw walResetFailure();
}

napi_value CopyFramesJob::result(napi_env env) {
  napi_value value;
  return napi_create_bigint_uint64(env, checksum_, &value) == napi_ok ? value : nullptr;
}

FoldJob::FoldJob(std::shared_ptr<Connection> connection)
    : PromiseJob(std::move(connection)),
      wal_(this->connection().walFile()),
      side_(this->connection().beginFold()) {}

void FoldJob::run() { folded_ = side_->fold(*wal_); }

void FoldJob::finish() {
  if (connection().isOpen()) connection().endFold();
}

napi_value FoldJob::result(napi_env env) { return makeFoldResult(env, folded_); }

napi_value makeFoldResult(napi_env env, const FoldResult& folded) {
  return ResultObject(env)
      .number("frameCount", folded.frameCount)
      .number("foldedCount", folded.foldedCount)
      .value();
}

CopyDatabaseJob::CopyDatabaseJob(std::shared_ptr<Connection> connection, int fd)
    : PromiseJob(std::move(connection)),
      wal_(this->connection().walFile()),
      side_(this->connection().borrowSide()),
      fd_(fd) {
  try {
    transaction_ = side_->beginRead();
  } catch (...) {
    this->connection().giveBackSide(side_);
    throw;
  }
}

void CopyDatabaseJob::run() { copy_ = copyDatabase(*side_, transaction_, *wal_, fd_, connection().gate); }

void CopyDatabaseJob::finish() {
  if (!connection().isOpen()) return;
  side_->endRead();
  connection().giveBackSide(side_);
}

napi_value CopyDatabaseJob::result(napi_env env) {
  return ResultObject(env)
      .number("pageCount", copy_.pageCount)
      .number("pageSize", copy_.pageSize)
      .bigint("checksum", copy_.checksum)
      .number("frameCount", transaction_.state.header.frameCount)
      .value();
}

}  // namespace mylibsql
