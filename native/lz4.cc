#include "lz4.h"

#include <cstring>

#include "bytes.h"

namespace mylibsql {

namespace {

constexpr size_t kMatchBytesMin = 4;
constexpr size_t kDistanceMax = 65535;
constexpr size_t kLastLiterals = 5;
constexpr size_t kLastMatchBytes = 12;  // a match begins at least as far from the end
constexpr unsigned kLengthMax = 15;     // of a token's half
// The table of positions stays in the first cache.
constexpr int kHashBits = 12;
// Of what has no matches, more and more is skipped: one byte more after each 64 that were tried.
constexpr unsigned kSkipShift = 6;

// Of five bytes: four find matches that are too short to be worth it.
size_t hashAt(const uint8_t* at) {
  constexpr uint64_t kMultiplier = 0x9e3779b97f4a7c15;
  return static_cast<size_t>(((loadLittle64(at) << 24) * kMultiplier) >> (64 - kHashBits));
}

size_t commonBytes(const uint8_t* a, const uint8_t* b, const uint8_t* aEnd) {
  const uint8_t* const start = a;
  while (aEnd - a >= 8) {
    if (loadLittle64(a) != loadLittle64(b)) break;
    a += 8;
    b += 8;
  }
  while (a < aEnd && *a == *b) {
    ++a;
    ++b;
  }
  return static_cast<size_t>(a - start);
}

uint8_t* putLengthRest(uint8_t* out, size_t rest) {
  for (; rest >= 255; rest -= 255) *out++ = 255;
  *out++ = static_cast<uint8_t>(rest);
  return out;
}

// The token, with the low half to come, and the literals.
uint8_t* putLiterals(uint8_t* out, const uint8_t* literals, size_t count) {
  uint8_t* const token = out++;
  if (count < kLengthMax) {
    *token = static_cast<uint8_t>(count << 4);
  } else {
    *token = kLengthMax << 4;
    out = putLengthRest(out, count - kLengthMax);
  }
  if (count > 0) std::memcpy(out, literals, count);
  return out + count;
}

struct Reader {
  const uint8_t* at;
  const uint8_t* const end;

  size_t left() const { return static_cast<size_t>(end - at); }

  // Of a token's half; false when the bytes end within it.
  bool takeLength(unsigned half, size_t& length) {
    length = half;
    if (half < kLengthMax) return true;
    for (;;) {
      if (at == end) return false;
      const uint8_t more = *at++;
      length += more;
      if (more < 255) return true;
    }
  }
};

constexpr size_t kStrideBytes = 16;

// In strides, beyond the end: for that there is room on both sides.
void copyInStrides(uint8_t* to, const uint8_t* from, size_t length) {
  for (size_t done = 0; done < length; done += kStrideBytes) std::memcpy(to + done, from + done, kStrideBytes);
}

// `from` lies before `to`, maybe by less than `length`: then what is between them repeats.
void repeat(uint8_t* to, const uint8_t* from, size_t length) {
  auto span = static_cast<size_t>(to - from);
  if (span == 1) {
    std::memset(to, *from, length);
    return;
  }
  for (; length > span; span *= 2) {
    std::memcpy(to, from, span);
    to += span;
    length -= span;
  }
  std::memcpy(to, from, length);
}

}  // namespace

size_t lz4Compress(const uint8_t* source, size_t length, uint8_t* target) {
  const uint8_t* const end = source + length;
  const uint8_t* anchor = source;  // up to here all is written
  uint8_t* out = target;
  if (length > kLastMatchBytes) {
    const uint8_t* const startLimit = end - kLastMatchBytes;
    const uint8_t* const matchLimit = end - kLastLiterals;
    uint32_t positions[size_t{1} << kHashBits] = {};
    const uint8_t* at = source + 1;
    unsigned tries = 1u << kSkipShift;
    while (at <= startLimit) {
      uint32_t& position = positions[hashAt(at)];
      const uint8_t* match = source + position;
      position = static_cast<uint32_t>(at - source);
      if (static_cast<size_t>(at - match) > kDistanceMax || loadNative32(match) != loadNative32(at)) {
        at += tries++ >> kSkipShift;
        continue;
      }
      while (at > anchor && match > source && at[-1] == match[-1]) {
        --at;
        --match;
      }
      uint8_t* const token = out;
      out = putLiterals(out, anchor, static_cast<size_t>(at - anchor));
      const auto distance = static_cast<size_t>(at - match);
      *out++ = static_cast<uint8_t>(distance);
      *out++ = static_cast<uint8_t>(distance >> 8);
      const size_t more = commonBytes(at + kMatchBytesMin, match + kMatchBytesMin, matchLimit);
      if (more < kLengthMax) {
        *token |= static_cast<uint8_t>(more);
      } else {
        *token |= kLengthMax;
        out = putLengthRest(out, more - kLengthMax);
      }
      at += kMatchBytesMin + more;
      anchor = at;
      tries = 1u << kSkipShift;
      if (at <= startLimit) positions[hashAt(at - 2)] = static_cast<uint32_t>(at - 2 - source);
    }
  }
  out = putLiterals(out, anchor, static_cast<size_t>(end - anchor));
  return static_cast<size_t>(out - target);
}

bool lz4Decompress(const uint8_t* source, size_t length, uint8_t* target, size_t rawLength) {
  Reader in{source, source + length};
  uint8_t* out = target;
  const uint8_t* const outEnd = target + rawLength;
  while (in.left() > 0) {
    const unsigned token = *in.at++;
    auto room = static_cast<size_t>(outEnd - out);
    size_t literals;
    if (!in.takeLength(token >> 4, literals) || literals > in.left() || literals > room) return false;
    if (literals + kStrideBytes <= in.left() && literals + kStrideBytes <= room) {
      copyInStrides(out, in.at, literals);
    } else if (literals > 0) {
      std::memcpy(out, in.at, literals);
    }
    in.at += literals;
    out += literals;
    room -= literals;
    if (in.left() == 0) return room == 0;

    if (in.left() < 2) return false;
    const size_t distance = in.at[0] | static_cast<size_t>(in.at[1]) << 8;
    in.at += 2;
    size_t more;
    if (!in.takeLength(token & kLengthMax, more)) return false;
    const size_t matchBytes = kMatchBytesMin + more;
    if (distance == 0 || distance > static_cast<size_t>(out - target) || matchBytes > room) return false;
    if (distance >= kStrideBytes && matchBytes + kStrideBytes <= room) {
      copyInStrides(out, out - distance, matchBytes);
    } else {
      repeat(out, out - distance, matchBytes);
    }
    out += matchBytes;
  }
  return false;
}

}  // namespace mylibsql
