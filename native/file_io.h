#pragma once
// Whole reads and writes at an offset, on file descriptors of the caller's. What the system refuses names `path`, when
// it is given.

#include <cstddef>
#include <cstdint>
#include <string>

namespace mylibsql {

// Reads until `byteLength` bytes or the end of the file; returns how many. Throws ERR_IO.
size_t readAt(int fd, void* target, size_t byteLength, int64_t byteOffset, const std::string& path = {});

// Writes all of it. Throws ERR_IO, with errno ENOSPC when the disk is full.
void writeAt(int fd, const void* bytes, size_t byteLength, int64_t byteOffset, const std::string& path = {});

// Asks the file system for the room of a large write in one piece, which is faster than block by block as it
// goes. The file's size stays. Without effect where there is no such thing, and when there is no room: the write
// says so.
void reserve(int fd, int64_t byteOffset, int64_t byteLength);

// Copies the first `byteLength` bytes of one file into another and returns their CRC-64; `targetFd` -1: only
// that.
uint64_t copyFile(int sourceFd, int targetFd, int64_t byteLength);

// An exclusive advisory lock (flock) on the open file, without waiting. It belongs to the open file
// description, so two opens in one process exclude each other, and it goes when the last descriptor of it is
// closed.
bool tryLock(int fd);

}  // namespace mylibsql
