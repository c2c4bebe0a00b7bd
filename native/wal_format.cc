#include "wal_format.h"

#include "bytes.h"
#include "wal_dot.h"

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

// The plain definition.
WalChecksum inOrder(WalChecksum sum, bool bigEndianWords, const uint8_t* bytes, size_t byteLength) {
  return bigEndianWords == kHostIsBigEndian ? continueChecksum<false>(sum, bytes, byteLength)
                                            : continueChecksum<true>(sum, bytes, byteLength);
}

constexpr size_t kPageBytesMin = 2 * kLaneBytes;

WalChecksum inLanes(WalChecksum sum, bool bigEndianWords, const uint8_t* bytes, size_t byteLength) {
  const size_t inPairs = byteLength - byteLength % kPageBytesMin;
  sum = bigEndianWords == kHostIsBigEndian ? continueInLanes<false>(sum, bytes, inPairs)
                                           : continueInLanes<true>(sum, bytes, inPairs);
  return inOrder(sum, bigEndianWords, bytes + inPairs, byteLength - inPairs);
}

std::vector<WalChecksumWay> waysOfThisProcessor() {
  std::vector<WalChecksumWay> ways;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")) ways.push_back(walDotAvx512);
  if (__builtin_cpu_supports("avx2")) ways.push_back(walDotAvx2);
#endif
  ways.push_back(inLanes);
  ways.push_back(inOrder);
  return ways;
}

}  // namespace

const std::vector<WalChecksumWay>& walChecksumWays() {
  static const std::vector<WalChecksumWay> ways = waysOfThisProcessor();
  return ways;
}

WalChecksum walChecksum(WalChecksum sum, bool bigEndianWords, const uint8_t* bytes, size_t byteLength) {
  if (byteLength < kPageBytesMin) return inOrder(sum, bigEndianWords, bytes, byteLength);
  static const WalChecksumWay ofPage = walChecksumWays().front();
  return ofPage(sum, bigEndianWords, bytes, byteLength);
}

}  // namespace mylibsql
