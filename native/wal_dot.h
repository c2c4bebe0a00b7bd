#pragma once
// The checksum of wal_format.h as dot products, for processors that multiply vectors of 32-bit words. Any
// length that is a multiple of 8; quicker than lanes from some hundred bytes on.

#include "wal_format.h"

#if defined(__x86_64__)

namespace mylibsql {

// Needs AVX2.
WalChecksum walDotAvx2(WalChecksum sum, bool bigEndianWords, const uint8_t* bytes, size_t byteLength);
// Needs AVX-512F and AVX-512BW.
WalChecksum walDotAvx512(WalChecksum sum, bool bigEndianWords, const uint8_t* bytes, size_t byteLength);

}  // namespace mylibsql

#endif
