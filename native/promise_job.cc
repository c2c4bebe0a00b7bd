#include "promise_job.h"

#include "js_error.h"

namespace mylibsql {

Napi::Value PromiseJob::start(Napi::Env env, std::unique_ptr<PromiseJob> job) {
  napi_value promise;
  napi_value name;
  napi_status status = napi_create_promise(env, &job->deferred_, &promise);
  if (status == napi_ok) status = napi_create_string_utf8(env, "mylibsql", NAPI_AUTO_LENGTH, &name);
  if (status == napi_ok) {
    status = napi_create_async_work(env, nullptr, name, execute, complete, job.get(), &job->work_);
  }
  if (status == napi_ok) status = napi_queue_async_work(env, job->work_);
  if (status != napi_ok) {
    job->finishAfter(status);
    throw Napi::Error::New(env);
  }
  job.release();  // complete() owns it
  return Napi::Value(env, promise);
}

void PromiseJob::execute(napi_env, void* data) { static_cast<PromiseJob*>(data)->runInsideGate(); }

void PromiseJob::runInsideGate() {
  if (!connection_->gate.tryEnter()) {
    failure_ = closedFailure();
    return;
  }
  try {
    run();
  } catch (const Failure& failure) {
    failure_ = failure;
  } catch (const std::exception& error) {
    failure_ = Failure("ERR_IO", error.what());
  }
  // Whatever a job says that was stopped by close(), as SQLITE_INTERRUPT, it was stopped by that.
  if (failure_ && connection_->gate.isShut()) failure_ = closedFailure();
  connection_->gate.leave();
}

void PromiseJob::finishAfter(napi_status status) {
  try {
    finish();
  } catch (const Failure& failure) {
    if (!failure_) failure_ = failure;
  }
  if (status != napi_ok && !failure_) failure_ = closedFailure();  // cancelled before it ran
}

void PromiseJob::complete(napi_env env, napi_status status, void* data) {
  const std::unique_ptr<PromiseJob> job(static_cast<PromiseJob*>(data));
  job->finishAfter(status);
  napi_handle_scope scope;
  if (napi_open_handle_scope(env, &scope) == napi_ok) {
    if (job->failure_) {
      const napi_value error = makeError(env, *job->failure_);
      if (error != nullptr) napi_reject_deferred(env, job->deferred_, error);
    } else {
      const napi_value value = job->result(env);
      if (value != nullptr) napi_resolve_deferred(env, job->deferred_, value);
    }
    napi_close_handle_scope(env, scope);
  }
  napi_delete_async_work(env, job->work_);
}

}  // namespace mylibsql
