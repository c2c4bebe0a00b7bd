#pragma once
// Keeps jobs on libuv threads and the closing of their connection apart. A job enters before it touches
// anything of the connection and leaves when it is done; closing shuts the gate and waits until nobody is
// inside.

#include <condition_variable>
#include <mutex>

namespace mylibsql {

class JobGate {
 public:
  bool tryEnter() {
    const std::lock_guard<std::mutex> guard(mutex_);
    if (isShut_) return false;
    insideCount_++;
    return true;
  }

  void leave() {
    const std::lock_guard<std::mutex> guard(mutex_);
    insideCount_--;
    isEmpty_.notify_all();
  }

  // A job that works in pieces looks in between.
  bool isShut() {
    const std::lock_guard<std::mutex> guard(mutex_);
    return isShut_;
  }

  void shut() {
    const std::lock_guard<std::mutex> guard(mutex_);
    isShut_ = true;
  }

  void waitUntilEmpty() {
    std::unique_lock<std::mutex> lock(mutex_);
    isEmpty_.wait(lock, [this] { return insideCount_ == 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable isEmpty_;
  bool isShut_ = false;
  int insideCount_ = 0;
};

}  // namespace mylibsql
