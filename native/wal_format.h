#pragma once
// The write-ahead log of SQLite (sqlite.org/walformat.html, sqlite.org/fileformat2.html#walformat). All
// integers are big-endian; checksums are computed over 32-bit words in the byte order that the magic names.
//
//     WAL header, 32 bytes                         frame, 24 bytes and the page
//     offset size field                            offset size field
//          0    4 magic 0x377f0682, or ...83            0    4 page number
//          4    4 format version 3007000                4    4 database size in pages after the commit,
//          8    4 page size in bytes                              0 when the frame does not end a transaction
//         12    4 checkpoint sequence number            8    8 salt-1 and salt-2 of the header
//         16    4 salt-1, up by 1 at each restart      16    8 checksum of the header's first 24 bytes, then of
//         20    4 salt-2, random                               [0, 8) and the page of all frames up to this
//         24    8 checksum of bytes [0, 24)            24    n page
//
// A frame is valid when its salts are those of the header and its checksum is right; it counts when it, or a
// frame after it, is a valid commit. Magic ...83: the checksums take words as big-endian; ...82: as
// little-endian.

#include <cstddef>
#include <cstdint>
#include <vector>

namespace mylibsql {

inline constexpr uint32_t kWalMagic = 0x377f0682;
inline constexpr uint32_t kWalVersion = 3007000;
inline constexpr size_t kWalHeaderBytes = 32;
inline constexpr size_t kWalFrameHeaderBytes = 24;
// The part of a frame's header that its checksum covers.
inline constexpr size_t kWalFrameSummedBytes = 8;

struct WalChecksum {
  uint32_t first = 0;
  uint32_t second = 0;
};

// Continues a checksum over `byteLength` bytes, a multiple of 8.
WalChecksum walChecksum(WalChecksum sum, bool bigEndianWords, const uint8_t* bytes, size_t byteLength);

// The ways there are to compute it on this processor, the quickest for a page first, the plain definition last.
using WalChecksumWay = WalChecksum (*)(WalChecksum, bool, const uint8_t*, size_t);
const std::vector<WalChecksumWay>& walChecksumWays();

// Offset in the WAL of frame `walIndex`, counted from 1.
inline int64_t walFrameOffset(uint32_t walIndex, uint32_t pageSize) {
  return static_cast<int64_t>(kWalHeaderBytes) +
         static_cast<int64_t>(walIndex - 1) * static_cast<int64_t>(pageSize + kWalFrameHeaderBytes);
}

}  // namespace mylibsql
