// CRC-64/GO-ISO without tables.
//
// The polynomial is so sparse that a table buys nothing: modulo P, x^64 = x^4 + x^3 + x + 1 = Q. In reflected
// order, where bit 63 - i of a word is the coefficient of x^i, multiplying by x^n is a shift to the right by
// n, and the n bits that fall out at the right are the coefficients of x^64 .. x^(64+n-1): taken at the left
// end of a word of their own, they are multiplied by Q and added.
//
// Squaring keeps a polynomial sparse: x^512 = Q^8 = x^32 + x^24 + x^8 + 1. So eight words advance by 64 bytes
// with four shifts each and do not depend on each other, which the compiler turns into vector instructions.
#include "crc64.h"

#include "bytes.h"

namespace mylibsql {

namespace {

inline uint64_t timesQ(uint64_t overflow) {
  return overflow ^ (overflow >> 1) ^ (overflow >> 3) ^ (overflow >> 4);
}

// state * x^64 mod P: takes in one word.
inline uint64_t advance64(uint64_t state) {
  return timesQ(state) ^ timesQ((state << 63) ^ (state << 61) ^ (state << 60));
}

// state * x^8 mod P: takes in one byte. Eight bits overflow, and Q times them still fits.
inline uint64_t advance8(uint64_t state) { return (state >> 8) ^ timesQ(state << 56); }

// state * x^512 mod P. At most 32 bits overflow, and Q times them still fits.
inline uint64_t advance512(uint64_t state) {
  const uint64_t kept = state ^ (state >> 8) ^ (state >> 24) ^ (state >> 32);
  return kept ^ timesQ((state << 56) ^ (state << 40) ^ (state << 32));
}

constexpr size_t kLaneCount = 8;
constexpr size_t kStepBytes = kLaneCount * sizeof(uint64_t);

// Folds 64 bytes at a time into eight words; returns those words taken as one message of 64 bytes.
uint64_t foldLanes(uint64_t state, const uint8_t*& bytes, size_t& byteLength) {
  uint64_t lanes[kLaneCount];
  for (size_t i = 0; i < kLaneCount; i++) lanes[i] = loadLittle64(bytes + i * 8);
  lanes[0] ^= state;
  bytes += kStepBytes;
  byteLength -= kStepBytes;
  while (byteLength >= kStepBytes) {
    for (size_t i = 0; i < kLaneCount; i++) lanes[i] = advance512(lanes[i]) ^ loadLittle64(bytes + i * 8);
    bytes += kStepBytes;
    byteLength -= kStepBytes;
  }
  state = 0;
  for (const uint64_t lane : lanes) state = advance64(state ^ lane);
  return state;
}

#if defined(__x86_64__)
bool hasCarrylessMultiply() {
  static const bool has = __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
  return has;
}

bool hasWideCarrylessMultiply() {
  static const bool has = __builtin_cpu_supports("vpclmulqdq") && __builtin_cpu_supports("avx512f");
  return has;
}
#endif

}  // namespace

uint64_t crc64RegisterPortable(uint64_t state, const uint8_t* bytes, size_t byteLength) {
  if (byteLength >= 2 * kStepBytes) state = foldLanes(state, bytes, byteLength);
  for (; byteLength >= 8; byteLength -= 8, bytes += 8) state = advance64(state ^ loadLittle64(bytes));
  for (; byteLength > 0; byteLength--, bytes++) state = advance8(state ^ *bytes);
  return state;
}

uint64_t crc64Portable(const void* bytes, size_t byteLength, uint64_t previous) {
  return ~crc64RegisterPortable(~previous, static_cast<const uint8_t*>(bytes), byteLength);
}

uint64_t crc64(const void* bytes, size_t byteLength, uint64_t previous) {
#if defined(__x86_64__)
  if (byteLength >= 512 && hasWideCarrylessMultiply()) {
    return ~crc64RegisterVpclmul(~previous, static_cast<const uint8_t*>(bytes), byteLength);
  }
  if (byteLength >= 128 && hasCarrylessMultiply()) {
    return ~crc64RegisterPclmul(~previous, static_cast<const uint8_t*>(bytes), byteLength);
  }
#endif
  return crc64Portable(bytes, byteLength, previous);
}

uint64_t reverseBits64(uint64_t value) {
  value = ((value >> 1) & 0x5555555555555555) | ((value & 0x5555555555555555) << 1);
  value = ((value >> 2) & 0x3333333333333333) | ((value & 0x3333333333333333) << 2);
  value = ((value >> 4) & 0x0f0f0f0f0f0f0f0f) | ((value & 0x0f0f0f0f0f0f0f0f) << 4);
  return swap64(value);
}

}  // namespace mylibsql
