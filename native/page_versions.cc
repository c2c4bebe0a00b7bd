#include "page_versions.h"

#include <algorithm>
#include <cstring>

#include "bytes.h"
#include "failure.h"

namespace mylibsql {

std::vector<PageVersion> lastVersions(const SqliteHandle& handle, uint32_t first, uint32_t last) {
  std::vector<PageVersion> versions;
  versions.reserve(last - first + 1);
  WalIndex index(handle);
  for (uint32_t walIndex = first; walIndex <= last; walIndex++)
    versions.push_back({index.pageNoOf(walIndex), walIndex});
  std::sort(versions.begin(), versions.end(), [](const PageVersion& left, const PageVersion& right) {
    return left.pageNo != right.pageNo ? left.pageNo < right.pageNo : left.walIndex > right.walIndex;
  });
  const auto samePage = [](const PageVersion& left, const PageVersion& right) {
    return left.pageNo == right.pageNo;
  };
  versions.erase(std::unique(versions.begin(), versions.end(), samePage), versions.end());
  return versions;
}

VersionReader::VersionReader(const WalFile& wal, const WalIndexHeader& header, size_t countMax)
    : wal_(wal),
      header_(header),
      frameBytes_(kWalFrameHeaderBytes + header.pageSize()),
      countMax_(countMax),
      frames_(new uint8_t[countMax * frameBytes_]) {}

size_t VersionReader::read(const PageVersion* begin, const PageVersion* end) {
  const PageVersion* next = begin;
  while (next != end && next - begin < static_cast<ptrdiff_t>(countMax_) &&
         next->walIndex - begin->walIndex == static_cast<uint32_t>(next - begin)) {
    next++;
  }
  const auto count = static_cast<size_t>(next - begin);
  const int64_t offset = walFrameOffset(begin->walIndex, header_.pageSize());
  if (wal_.read(frames_.get(), count * frameBytes_, offset) != count * frameBytes_) {
    throw corruptFailure("the WAL ends before frame " + std::to_string(begin[count - 1].walIndex));
  }
  for (size_t i = 0; i < count; i++) {
    const uint8_t* const frame = frames_.get() + i * frameBytes_;
    const bool isExpected = loadBig32(frame) == begin[i].pageNo &&
                            std::memcmp(frame + 8, header_.salts.data(), header_.salts.size()) == 0;
    if (!isExpected) throw walResetFailure();
  }
  return count;
}

}  // namespace mylibsql
