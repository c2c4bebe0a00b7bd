// CRC-64/GO-ISO, 64 bytes at a time in four blocks (crc64_fold.h). Chosen at run time; the rest of the addon is
// compiled for the base x86-64.
#include "crc64.h"

#if defined(__x86_64__)

#include "crc64_fold.h"

namespace mylibsql {

namespace {

constexpr FoldConstants kFold512 = foldBy(512);
constexpr FoldConstants kFold128 = foldBy(128);

__attribute__((target("pclmul,sse4.1"))) inline __m128i load(const uint8_t* bytes) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
}

}  // namespace

__attribute__((target("pclmul,sse4.1"))) uint64_t crc64RegisterPclmul(uint64_t state, const uint8_t* bytes,
                                                                      size_t byteLength) {
  const __m128i by512 = packed(kFold512);
  const __m128i by128 = packed(kFold128);

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
