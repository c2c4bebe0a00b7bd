#include "wal_format.h"

#include "bytes.h"

namespace mylibsql {

namespace {

template <bool kSwap>
WalChecksum continueChecksum(WalChecksum sum, const uint8_t* bytes, size_t byteLength) {
  uint32_t first = sum.first;
  uint32_t second = sum.second;
  const uint8_t* const end = bytes + byteLength;
#pragma GCC unroll 8
  while (bytes < end) {
    const uint32_t even = loadNative32(bytes);
    const uint32_t odd = loadNative32(bytes + 4);
    first += (kSwap ? swap32(even) : even) + second;
    second += (kSwap ? swap32(odd) : odd) + first;
    bytes += 8;
  }
  return {first, second};
}

}  // namespace

WalChecksum walChecksum(WalChecksum sum, bool bigEndianWords, const uint8_t* bytes, size_t byteLength) {
  return bigEndianWords == kHostIsBigEndian ? continueChecksum<false>(sum, bytes, byteLength)
                                            : continueChecksum<true>(sum, bytes, byteLength);
}

}  // namespace mylibsql
