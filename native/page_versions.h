#pragma once
// Which frame of the WAL holds the last version of a page, for those who read the WAL page by page.

#include <vector>

#include "wal_file.h"
#include "wal_format.h"

namespace mylibsql {

struct PageVersion {
  uint32_t pageNo;
  uint32_t walIndex;
};

// The last version of each page among frames `first` .. `last`, by page number.
std::vector<PageVersion> lastVersions(const SqliteHandle& handle, uint32_t first, uint32_t last);

// Reads versions out of the WAL, as many at a time as it has room for.
class VersionReader {
 public:
  VersionReader(const WalFile& wal, const WalIndexHeader& header, size_t countMax);

  // Reads versions from `begin` on, up to `countMax` and `end`, as long as their frames follow each other.
  // Returns how many; page(i) is theirs until the next call. Throws ERR_WAL_RESET, ERR_CORRUPT.
  size_t read(const PageVersion* begin, const PageVersion* end);
  const uint8_t* page(size_t i) const { return frames_.get() + i * frameBytes_ + kWalFrameHeaderBytes; }

 private:
  const WalFile& wal_;
  const WalIndexHeader& header_;
  const size_t frameBytes_;
  const size_t countMax_;
  const std::unique_ptr<uint8_t[]> frames_;
};

}  // namespace mylibsql
