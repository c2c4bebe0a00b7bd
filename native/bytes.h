#pragma once
// Integers in byte arrays, in a stated byte order, on hosts of either one. Compilers turn each into one move.

#include <cstdint>
#include <cstring>

namespace mylibsql {

inline constexpr bool kHostIsBigEndian = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__;

inline uint32_t swap32(uint32_t value) { return __builtin_bswap32(value); }
inline uint64_t swap64(uint64_t value) { return __builtin_bswap64(value); }

inline uint32_t loadNative32(const void* from) {
  uint32_t value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

inline uint32_t loadBig32(const void* from) {
  const uint32_t value = loadNative32(from);
  return kHostIsBigEndian ? value : swap32(value);
}

inline uint32_t loadLittle32(const void* from) {
  const uint32_t value = loadNative32(from);
  return kHostIsBigEndian ? swap32(value) : value;
}

inline uint64_t loadLittle64(const void* from) {
  uint64_t value;
  std::memcpy(&value, from, sizeof value);
  return kHostIsBigEndian ? swap64(value) : value;
}

inline void storeBig32(void* to, uint32_t value) {
  if (!kHostIsBigEndian) value = swap32(value);
  std::memcpy(to, &value, sizeof value);
}

inline void storeLittle32(void* to, uint32_t value) {
  if (kHostIsBigEndian) value = swap32(value);
  std::memcpy(to, &value, sizeof value);
}

inline void storeLittle64(void* to, uint64_t value) {
  if (kHostIsBigEndian) value = swap64(value);
  std::memcpy(to, &value, sizeof value);
}

}  // namespace mylibsql
