#pragma once
// Blocks of the LZ4 format, which states the rules (lz4_Block_format.md of the LZ4 project). Node has no codec that unpacks
// at the speed of memory, and those of packages unpack into memory that is new each time: to have it from the system
// takes longer than to unpack.
//
// A block is a chain of sequences: a token (high half: literal count, low half: match length - 4; 15 goes on in bytes,
// of which the first below 255 is the last), the literals, a match's distance (u16, little-endian, not 0). The last
// sequence has literals only, at least 5; no match begins within the last 12 bytes.

#include <cstddef>
#include <cstdint>

namespace mylibsql {

// What `length` bytes take at most.
constexpr size_t lz4BytesMax(size_t length) { return length + length / 255 + 16; }

// Bytes written to `target`, which has room for lz4BytesMax(length). Up to 4 GB.
size_t lz4Compress(const uint8_t* source, size_t length, uint8_t* target);

// False: this is no block of exactly `rawLength` bytes. Reads and writes within both spans whatever the bytes are.
bool lz4Decompress(const uint8_t* source, size_t length, uint8_t* target, size_t rawLength);

}  // namespace mylibsql
