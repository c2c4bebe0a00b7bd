// CRC-64/GO-ISO, 256 bytes at a time in four vectors of four blocks (crc64_fold.h), by the VPCLMULQDQ of AVX-512
// processors. Chosen at run time.
#include "crc64.h"

#if defined(__x86_64__)

#include "crc64_fold.h"

#define WIDE __attribute__((target("pclmul,avx512f,vpclmulqdq")))

namespace mylibsql {

namespace {

constexpr FoldConstants kFold2048 = foldBy(2048);
constexpr FoldConstants kFold512 = foldBy(512);
constexpr FoldConstants kFold128 = foldBy(128);
constexpr int kXorOfThree = 0x96;

WIDE inline __m512i packedFourTimes(const FoldConstants& constants) {
  const auto first = static_cast<long long>(constants.first);
  const auto second = static_cast<long long>(constants.second);
  return _mm512_set4_epi64(second, first, second, first);
}

WIDE inline __m512i load(const uint8_t* bytes) { return _mm512_loadu_si512(bytes); }

WIDE inline __m512i foldWide(__m512i blocks, __m512i constants, __m512i next) {
  const __m512i first = _mm512_clmulepi64_epi128(blocks, constants, 0x00);
  const __m512i second = _mm512_clmulepi64_epi128(blocks, constants, 0x11);
  return _mm512_ternarylogic_epi64(first, second, next, kXorOfThree);
}

}  // namespace

WIDE uint64_t crc64RegisterVpclmul(uint64_t state, const uint8_t* bytes, size_t byteLength) {
  const __m512i by2048 = packedFourTimes(kFold2048);
  const __m512i by512 = packedFourTimes(kFold512);
  const __m128i by128 = packed(kFold128);

  const __m512i start = _mm512_zextsi128_si512(_mm_cvtsi64_si128(static_cast<long long>(state)));
  __m512i blocks0 = _mm512_xor_si512(load(bytes), start);
  __m512i blocks1 = load(bytes + 64);
  __m512i blocks2 = load(bytes + 128);
  __m512i blocks3 = load(bytes + 192);
  bytes += 256;
  byteLength -= 256;
  for (; byteLength >= 256; bytes += 256, byteLength -= 256) {
    blocks0 = foldWide(blocks0, by2048, load(bytes));
    blocks1 = foldWide(blocks1, by2048, load(bytes + 64));
    blocks2 = foldWide(blocks2, by2048, load(bytes + 128));
    blocks3 = foldWide(blocks3, by2048, load(bytes + 192));
  }
  blocks1 = foldWide(blocks0, by512, blocks1);
  blocks2 = foldWide(blocks1, by512, blocks2);
  blocks3 = foldWide(blocks2, by512, blocks3);
  for (; byteLength >= 64; bytes += 64, byteLength -= 64) blocks3 = foldWide(blocks3, by512, load(bytes));

  // What is left is a message of 64 bytes, then of 16, then the tail.
  uint8_t rest[64];
  _mm512_storeu_si512(rest, blocks3);
  const auto* const blocks = reinterpret_cast<const __m128i*>(rest);
  __m128i block = _mm_loadu_si128(blocks);
  for (int i = 1; i < 4; i++) block = fold(block, by128, _mm_loadu_si128(blocks + i));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(rest), block);
  return crc64RegisterPortable(crc64RegisterPortable(0, rest, sizeof block), bytes, byteLength);
}

}  // namespace mylibsql

#endif
