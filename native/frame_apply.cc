// Applying a run to a database file: only the last version of a page is written, in the order of the run, and
// pages that follow each other in the file go out in one call.
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "failure.h"
#include "file_io.h"
#include "frame_record.h"
#include "frame_run.h"

namespace mylibsql {

namespace {

struct Plan {
  uint32_t pageCount = 0;       // of the database after the run
  std::vector<bool> isWritten;  // per frame: it is the last version of a page that exists afterwards
};

Plan planOf(const FrameSource& source, const FrameRun& run) {
  const size_t stride = recordBytes(run.pageSize);
  std::vector<uint32_t> pageNos;
  Plan plan;
  FrameReader reader(source, run.pageSize, run.frameCount);
  const uint8_t* records = nullptr;
  while (const uint32_t count = reader.next(records)) {
    for (uint32_t i = 0; i < count; i++) {
      pageNos.push_back(recordPageNo(records + i * stride));
      plan.pageCount = recordSizeAfter(records + i * stride);
    }
  }
  if (reader.remaining() != 0) throw corruptFailure("the frames end before the last one");
  if (plan.pageCount == 0) throw corruptFailure("the last frame does not end a transaction");

  std::vector<bool> isSeen(size_t{plan.pageCount} + 1);
  plan.isWritten.resize(pageNos.size());
  for (size_t i = pageNos.size(); i-- > 0;) {
    const uint32_t pageNo = pageNos[i];
    if (pageNo == 0 || pageNo > plan.pageCount || isSeen[pageNo]) continue;
    isSeen[pageNo] = true;
    plan.isWritten[i] = true;
  }
  return plan;
}

// Gathers pages with consecutive numbers out of their records.
class PageWriter {
 public:
  PageWriter(int fd, uint32_t pageSize) : fd_(fd), pageSize_(pageSize) {}

  void add(uint32_t pageNo, const uint8_t* page) {
    constexpr size_t kPieceCountMax = 256;
    if (!pieces_.empty() && (pageNo != nextPageNo_ || pieces_.size() == kPieceCountMax)) flush();
    if (pieces_.empty()) firstPageNo_ = pageNo;
    pieces_.push_back({const_cast<uint8_t*>(page), pageSize_});
    nextPageNo_ = pageNo + 1;
  }

  void flush() {
    if (pieces_.empty()) return;
    const int64_t offset = static_cast<int64_t>(firstPageNo_ - 1) * pageSize_;
    const ssize_t count =
        pwritev(fd_, pieces_.data(), static_cast<int>(pieces_.size()), static_cast<off_t>(offset));
    if (count < 0 && errno != EINTR) throw systemFailure("pwritev", errno);
    // Interrupted or short, as on a full disk: page by page, which says what is wrong.
    if (count != static_cast<ssize_t>(pieces_.size() * pageSize_)) {
      for (size_t i = 0; i < pieces_.size(); i++) {
        writeAt(fd_, pieces_[i].iov_base, pageSize_, offset + static_cast<int64_t>(i * pageSize_));
      }
    }
    pieces_.clear();
  }

 private:
  const int fd_;
  const uint32_t pageSize_;
  uint32_t firstPageNo_ = 0;
  uint32_t nextPageNo_ = 0;
  std::vector<iovec> pieces_;
};

uint32_t currentPageCount(int fd, uint32_t pageSize) {
  struct stat status;
  if (fstat(fd, &status) != 0) throw systemFailure("fstat", errno);
  return static_cast<uint32_t>(status.st_size / pageSize);
}

}  // namespace

uint32_t applyFrames(const FrameSource& source, const FrameRun& run, int databaseFd) {
  if (run.frameCount == 0) return currentPageCount(databaseFd, run.pageSize);
  const Plan plan = planOf(source, run);
  const size_t stride = recordBytes(run.pageSize);
  PageWriter writer(databaseFd, run.pageSize);
  FrameReader reader(source, run.pageSize, run.frameCount);
  const uint8_t* records = nullptr;
  size_t index = 0;
  while (const uint32_t count = reader.next(records)) {
    for (uint32_t i = 0; i < count; i++) {
      const uint8_t* const record = records + i * stride;
      if (plan.isWritten[index++]) writer.add(recordPageNo(record), recordPage(record));
    }
    writer.flush();  // before the chunk is overwritten
  }
  const auto byteLength = static_cast<off_t>(static_cast<int64_t>(plan.pageCount) * run.pageSize);
  if (ftruncate(databaseFd, byteLength) != 0) throw systemFailure("ftruncate", errno);
  return plan.pageCount;
}

}  // namespace mylibsql
