// CRC-64/GO-ISO by carry-less multiplication (PCLMULQDQ), after Gopal et al., "Fast CRC Computation for
// Generic Polynomials Using PCLMULQDQ Instruction", Intel 2009. Chosen at run time; the rest of the addon is
// compiled for the base x86-64.
//
// A 16-byte block is H * x^64 + L, H its first 8 bytes. Moving it on by n bits is H * x^(n+64) + L * x^n,
// each power reduced modulo P beforehand. The product of two reflected 64-bit words comes out of PCLMULQDQ
// one bit short of its place in the reflected 128-bit word, which multiplies it by x: the constants are
// therefore one power lower.
#include "crc64.h"

#if defined(__x86_64__)

#include <immintrin.h>

namespace mylibsql {

namespace {

constexpr uint64_t kReflectedP = 0xD800000000000000;

// x^n mod P, in reflected order.
constexpr uint64_t powerOfX(unsigned n) {
  uint64_t value = 0x8000000000000000;  // 1
  for (unsigned i = 0; i < n; i++) value = (value >> 1) ^ ((value & 1) != 0 ? kReflectedP : 0);
  return value;
}

struct FoldConstants {
  uint64_t first;   // for the first 8 bytes of a block
  uint64_t second;  // for the last 8 bytes
};

constexpr FoldConstants foldBy(unsigned bits) { return {powerOfX(bits + 63), powerOfX(bits - 1)}; }

constexpr FoldConstants kFold512 = foldBy(512);
constexpr FoldConstants kFold128 = foldBy(128);

__attribute__((target("pclmul,sse4.1"))) inline __m128i load(const uint8_t* bytes) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
}

__attribute__((target("pclmul,sse4.1"))) inline __m128i fold(__m128i block, __m128i constants, __m128i next) {
  const __m128i first = _mm_clmulepi64_si128(block, constants, 0x00);
  const __m128i second = _mm_clmulepi64_si128(block, constants, 0x11);
  return _mm_xor_si128(_mm_xor_si128(first, second), next);
}

}  // namespace

__attribute__((target("pclmul,sse4.1"))) uint64_t crc64RegisterPclmul(uint64_t state, const uint8_t* bytes,
                                                                      size_t byteLength) {
  const __m128i by512 =
      _mm_set_epi64x(static_cast<long long>(kFold512.second), static_cast<long long>(kFold512.first));
  const __m128i by128 =
      _mm_set_epi64x(static_cast<long long>(kFold128.second), static_cast<long long>(kFold128.first));

  __m128i block0 = _mm_xor_si128(load(bytes), _mm_cvtsi64_si128(static_cast<long long>(state)));
  __m128i block1 = load(bytes + 16);
  __m128i block2 = load(bytes + 32);
  __m128i block3 = load(bytes + 48);
  bytes += 64;
  byteLength -= 64;
  for (; byteLength >= 64; bytes += 64, byteLength -= 64) {
    block0 = fold(block0, by512, load(bytes));
    block1 = fold(block1, by512, load(bytes + 16));
    block2 = fold(block2, by512, load(bytes + 32));
    block3 = fold(block3, by512, load(bytes + 48));
  }
  block1 = fold(block0, by128, block1);
  block2 = fold(block1, by128, block2);
  block3 = fold(block2, by128, block3);
  for (; byteLength >= 16; bytes += 16, byteLength -= 16) block3 = fold(block3, by128, load(bytes));

  // What is left is a message of 16 bytes, then the tail.
  uint8_t rest[16];
  _mm_storeu_si128(reinterpret_cast<__m128i*>(rest), block3);
  return crc64RegisterPortable(crc64RegisterPortable(0, rest, sizeof rest), bytes, byteLength);
}

}  // namespace mylibsql

#endif
