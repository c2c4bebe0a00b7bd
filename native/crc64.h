#pragma once
// CRC-64/GO-ISO: polynomial x^64 + x^4 + x^3 + x + 1 (0x1b, reflected 0xD800000000000000), register started
// and finished with all ones, bytes taken low bit first. check("123456789") = 0xb90956c775a41001. Catalogue:
// reveng.sourceforge.io/crc-catalogue (CRC-64/GO-ISO).

#include <cstddef>
#include <cstdint>

namespace mylibsql {

// The CRC-64 of `byteLength` bytes, continued from `previous` (0 to begin) as zlib's crc32 continues:
// crc64(b, crc64(a, 0)) is the CRC-64 of a followed by b.
uint64_t crc64(const void* bytes, size_t byteLength, uint64_t previous);

// The same by shifts alone. It is what crc64 does on processors without a carry-less multiply.
uint64_t crc64Portable(const void* bytes, size_t byteLength, uint64_t previous);

// The bits of a word in reverse order: log version 2 starts the register of a frame with this.
uint64_t reverseBits64(uint64_t value);

// The register between start and finish, for those who fold in pieces.
uint64_t crc64RegisterPortable(uint64_t state, const uint8_t* bytes, size_t byteLength);

#if defined(__x86_64__)
// Needs PCLMULQDQ and SSE4.1, and at least 64 bytes.
uint64_t crc64RegisterPclmul(uint64_t state, const uint8_t* bytes, size_t byteLength);
// Needs VPCLMULQDQ and AVX-512F, and at least 256 bytes.
uint64_t crc64RegisterVpclmul(uint64_t state, const uint8_t* bytes, size_t byteLength);
#endif

}  // namespace mylibsql
