#pragma once
// A frame record, as logs, frame batches and the injector have it. Little-endian.
//
//     offset  size  field
//          0     8  frame_no     u64   number of the frame, 0 for the first one ever written
//          8     8  checksum     u64   see below
//         16     4  page_no      u32   1 .. 2^32 - 2
//         20     4  size_after   u32   database size in pages after the commit, 0 when not a commit
//         24     n  page               page_size bytes
//
// Version 3: the checksum is the CRC-64 of bytes [0, 8) and [16, 24 + n), continued from the frame before's.
// Version 2 (the crate's): the CRC-64 of the page alone, its register started at the bit-reversed checksum of
// the frame before.

#include <cstddef>
#include <cstdint>

#include "bytes.h"
#include "crc64.h"

namespace mylibsql {

inline constexpr size_t kRecordHeaderBytes = 24;
inline constexpr uint32_t kPageNoMax = 0xfffffffe;

inline size_t recordBytes(uint32_t pageSize) { return kRecordHeaderBytes + pageSize; }

inline uint64_t recordFrameNo(const uint8_t* record) { return loadLittle64(record); }
inline uint64_t recordChecksum(const uint8_t* record) { return loadLittle64(record + 8); }
inline uint32_t recordPageNo(const uint8_t* record) { return loadLittle32(record + 16); }
inline uint32_t recordSizeAfter(const uint8_t* record) { return loadLittle32(record + 20); }
inline const uint8_t* recordPage(const uint8_t* record) { return record + kRecordHeaderBytes; }

// Checksum of a record that has its number, page number and size, continued from that of the frame before.
inline uint64_t chainedChecksum(const uint8_t* record, uint32_t pageSize, uint64_t previous) {
  return crc64(record + 16, 8 + pageSize, crc64(record, 8, previous));
}

inline uint64_t pageChecksum(const uint8_t* record, uint32_t pageSize, uint64_t previous) {
  return crc64(recordPage(record), pageSize, ~reverseBits64(previous));
}

}  // namespace mylibsql
