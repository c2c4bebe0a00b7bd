#pragma once
// Folding CRC-64/GO-ISO by carry-less multiplication, after Gopal et al., "Fast CRC Computation for Generic
// Polynomials Using PCLMULQDQ Instruction", Intel 2009: what the two widths of it share.
//
// A 16-byte block is H * x^64 + L, H its first 8 bytes. Moving it on by n bits is H * x^(n+64) + L * x^n,
// each power reduced modulo P beforehand. The product of two reflected 64-bit words comes out of PCLMULQDQ
// one bit short of its place in the reflected 128-bit word, which multiplies it by x: the constants are
// therefore one power lower.

#if defined(__x86_64__)

#include <immintrin.h>

#include <cstdint>

namespace mylibsql {

inline constexpr uint64_t kReflectedP = 0xD800000000000000;

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

inline __m128i packed(const FoldConstants& constants) {
  return _mm_set_epi64x(static_cast<long long>(constants.second), static_cast<long long>(constants.first));
}

// A block moved on by the constants' bits, and the block that is there added.
__attribute__((target("pclmul"))) inline __m128i fold(__m128i block, __m128i constants, __m128i next) {
  const __m128i first = _mm_clmulepi64_si128(block, constants, 0x00);
  const __m128i second = _mm_clmulepi64_si128(block, constants, 0x11);
  return _mm_xor_si128(_mm_xor_si128(first, second), next);
}

}  // namespace mylibsql

#endif
