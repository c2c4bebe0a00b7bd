// Each sum is the two before it and a word: Fibonacci's rule. So a word that has n words from itself to the
// end is F(n) times in the last sum and F(n - 1) times in the one before, modulo 2^32. That is a product with a
// constant for each word, and none waits for another. Compilers make vector instructions of the loop, for each
// of the targets below; chosen at run time, as the rest of the addon is compiled for the base x86-64.
#include "wal_dot.h"

#if defined(__x86_64__)

#include <algorithm>

#include "bytes.h"

#define INLINE __attribute__((always_inline)) inline

namespace mylibsql {

namespace {

// Of words that are summed at a time: the first-level cache holds them, and twice as many factors.
constexpr size_t kBlockWords = 1024;

// How often the words of a block are in both sums; of a shorter one the last words'.
struct Factors {
  alignas(64) uint32_t inFirst[kBlockWords];
  alignas(64) uint32_t inSecond[kBlockWords];
};

constexpr Factors fibonacciBackwards() {
  Factors factors{};
  uint32_t number = 0;
  uint32_t following = 1;
  for (size_t i = kBlockWords; i-- > 0;) {
    factors.inFirst[i] = number;
    factors.inSecond[i] = following;
    const uint32_t sum = number + following;
    number = following;
    following = sum;
  }
  return factors;
}

constexpr Factors kFactors = fibonacciBackwards();

template <bool kSwap>
INLINE WalChecksum sumBlock(WalChecksum sum, const uint8_t* bytes, size_t wordCount) {
  const uint32_t* const inFirst = kFactors.inFirst + kBlockWords - wordCount;
  const uint32_t* const inSecond = kFactors.inSecond + kBlockWords - wordCount;
  // What was summed before goes on as words of 0 would make it.
  uint32_t first = inFirst[0] * sum.first + inSecond[0] * sum.second;
  uint32_t second = inSecond[0] * sum.first + (inFirst[0] + inSecond[0]) * sum.second;
  for (size_t i = 0; i < wordCount; i++) {
    const uint32_t loaded = loadNative32(bytes + i * 4);
    const uint32_t word = kSwap ? swap32(loaded) : loaded;
    first += word * inFirst[i];
    second += word * inSecond[i];
  }
  return {first, second};
}

template <bool kSwap>
INLINE WalChecksum sumBlocks(WalChecksum sum, const uint8_t* bytes, size_t byteLength) {
  while (byteLength > 0) {
    const size_t blockBytes = std::min(byteLength, kBlockWords * 4);
    sum = sumBlock<kSwap>(sum, bytes, blockBytes / 4);
    bytes += blockBytes;
    byteLength -= blockBytes;
  }
  return sum;
}

INLINE WalChecksum sumWords(WalChecksum sum, bool bigEndianWords, const uint8_t* bytes, size_t byteLength) {
  return bigEndianWords ? sumBlocks<true>(sum, bytes, byteLength) : sumBlocks<false>(sum, bytes, byteLength);
}

}  // namespace

__attribute__((target("avx2"))) WalChecksum walDotAvx2(WalChecksum sum, bool bigEndianWords,
                                                       const uint8_t* bytes, size_t byteLength) {
  return sumWords(sum, bigEndianWords, bytes, byteLength);
}

__attribute__((target("avx512f,avx512bw"))) WalChecksum walDotAvx512(WalChecksum sum, bool bigEndianWords,
                                                                     const uint8_t* bytes,
                                                                     size_t byteLength) {
  return sumWords(sum, bigEndianWords, bytes, byteLength);
}

}  // namespace mylibsql

#endif
