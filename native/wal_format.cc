#include "wal_format.h"

#include "bytes.h"

namespace mylibsql {

namespace {

// Each word is added to the two sums before it. Added to the older one first, it costs the chain of sums one
// addition; compilers left alone add the two sums first, which costs two.
inline uint32_t next(uint32_t older, uint32_t newer, uint32_t word) {
  uint32_t sum = older + word;
  asm("" : "+r"(sum));  // in this order
  return sum + newer;
}

template <bool kSwap>
inline uint32_t wordAt(const uint8_t* bytes) {
  const uint32_t word = loadNative32(bytes);
  return kSwap ? swap32(word) : word;
}

template <bool kSwap>
WalChecksum continueChecksum(WalChecksum sum, const uint8_t* bytes, size_t byteLength) {
  for (const uint8_t* const end = bytes + byteLength; bytes < end; bytes += 8) {
    sum.first = next(sum.first, sum.second, wordAt<kSwap>(bytes));
    sum.second = next(sum.second, sum.first, wordAt<kSwap>(bytes + 4));
  }
  return sum;
}

constexpr uint32_t fibonacci(size_t index) {
  uint32_t number = 0;
  uint32_t following = 1;
  for (size_t i = 0; i < index; i++) {
    const uint32_t sum = number + following;
    number = following;
    following = sum;
  }
  return number;
}

constexpr size_t kLaneBytes = 256;
constexpr size_t kLaneWords = kLaneBytes / 4;

// The same over pairs of lanes, which do not wait for each other. The sums are linear, modulo 2^32: words of 0
// turn (first, second) into Fibonacci's numbers times both, so what the second lane would have made of the
// first one's sums is added when it is done.
template <bool kSwap>
WalChecksum continueInLanes(WalChecksum sum, const uint8_t* bytes, size_t byteLength) {
  constexpr uint32_t kBefore = fibonacci(kLaneWords - 1);
  constexpr uint32_t kAt = fibonacci(kLaneWords);
  constexpr uint32_t kAfter = fibonacci(kLaneWords + 1);
  for (const uint8_t* const end = bytes + byteLength; bytes < end; bytes += 2 * kLaneBytes) {
    WalChecksum lane;
#pragma GCC unroll 4
    for (size_t at = 0; at < kLaneBytes; at += 8) {
      sum.first = next(sum.first, sum.second, wordAt<kSwap>(bytes + at));
      lane.first = next(lane.first, lane.second, wordAt<kSwap>(bytes + kLaneBytes + at));
      sum.second = next(sum.second, sum.first, wordAt<kSwap>(bytes + at + 4));
      lane.second = next(lane.second, lane.first, wordAt<kSwap>(bytes + kLaneBytes + at + 4));
    }
    sum = {lane.first + kBefore * sum.first + kAt * sum.second,
           lane.second + kAt * sum.first + kAfter * sum.second};
  }
  return sum;
}

template <bool kSwap>
WalChecksum checksum(WalChecksum sum, const uint8_t* bytes, size_t byteLength) {
  const bool isPage = byteLength % (2 * kLaneBytes) == 0;
  return isPage ? continueInLanes<kSwap>(sum, bytes, byteLength)
                : continueChecksum<kSwap>(sum, bytes, byteLength);
}

}  // namespace

WalChecksum walChecksum(WalChecksum sum, bool bigEndianWords, const uint8_t* bytes, size_t byteLength) {
  return bigEndianWords == kHostIsBigEndian ? checksum<false>(sum, bytes, byteLength)
                                            : checksum<true>(sum, bytes, byteLength);
}

}  // namespace mylibsql
