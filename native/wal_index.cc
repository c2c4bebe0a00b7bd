#include "wal_index.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include "bytes.h"
#include "failure.h"
#include "wal_format.h"

namespace mylibsql {

namespace {

constexpr uint32_t kBlockBytes = 32768;
constexpr uint32_t kFramesPerBlock = 4096;
constexpr uint32_t kHeaderWords = 136 / 4;
constexpr uint32_t kFramesInFirstBlock = kFramesPerBlock - kHeaderWords;
constexpr uint32_t kSlotCount = 8192;
constexpr uint32_t kHashFactor = 383;

constexpr uint32_t kFoldedWord = 96 / 4;
constexpr uint32_t kReadMarkWord = 100 / 4;
constexpr uint32_t kFoldAttemptedWord = 128 / 4;

uint32_t blockNoOf(uint32_t walIndex) {
  return (walIndex + kFramesPerBlock - kFramesInFirstBlock - 1) / kFramesPerBlock;
}

uint32_t firstSlotOf(uint32_t pageNo) { return (pageNo * kHashFactor) & (kSlotCount - 1); }
uint32_t nextSlot(uint32_t slot) { return (slot + 1) & (kSlotCount - 1); }

WalChecksum headerChecksum(const WalIndexHeader& header) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(&header);
  return walChecksum({}, kHostIsBigEndian, bytes, offsetof(WalIndexHeader, checksum));
}

// The volatile is dropped only here: what another process may change meanwhile is compared or summed
// afterwards.
void copyFromShared(WalIndexHeader& to, const volatile uint32_t* from) {
  std::memcpy(&to, const_cast<const uint32_t*>(from), sizeof to);
}

void copyToShared(volatile uint32_t* to, const WalIndexHeader& from) {
  std::memcpy(const_cast<uint32_t*>(to), &from, sizeof from);
}

}  // namespace

bool WalIndexHeader::operator==(const WalIndexHeader& other) const {
  return std::memcmp(this, &other, sizeof *this) == 0;
}

volatile uint32_t* WalIndex::map(uint32_t blockNo, bool mayExtend) {
  if (blockNo < blocks_.size() && blocks_[blockNo] != nullptr) return blocks_[blockNo];
  volatile void* block = nullptr;
  const int result =
      file_->pMethods->xShmMap(file_, static_cast<int>(blockNo), kBlockBytes, mayExtend ? 1 : 0, &block);
  // A read-only mapping is reported as SQLITE_READONLY although it is there.
  if (result != SQLITE_OK && (result & 0xff) != SQLITE_READONLY) {
    throw sqliteFailure(handle_, result, "mapping the wal-index");
  }
  if (block == nullptr) return nullptr;
  if (blocks_.size() <= blockNo) blocks_.resize(blockNo + 1, nullptr);
  return blocks_[blockNo] = static_cast<volatile uint32_t*>(block);
}

volatile uint32_t* WalIndex::firstBlock() {
  volatile uint32_t* const words = map(0, true);
  if (words == nullptr) throw corruptFailure("the wal-index is not there");
  return words;
}

bool WalIndex::tryRead(WalState& state) {
  const volatile uint32_t* const shared = map(0, false);
  if (shared == nullptr) return false;
  WalIndexHeader second;
  copyFromShared(state.header, shared);
  file_->pMethods->xShmBarrier(file_);
  copyFromShared(second, shared + sizeof second / 4);
  if (!(state.header == second) || state.header.isInit == 0) return false;
  const WalChecksum sum = headerChecksum(state.header);
  if (sum.first != state.header.checksum[0] || sum.second != state.header.checksum[1]) return false;

  state.foldedCount =
      std::min(__atomic_load_n(&shared[kFoldedWord], __ATOMIC_RELAXED), state.header.frameCount);
  file_->pMethods->xShmBarrier(file_);
  copyFromShared(second, shared);
  return state.header == second;
}

WalState WalIndex::read() {
  constexpr int kAttemptCount = 200;
  WalState state;
  for (int attempt = 0; attempt < kAttemptCount; attempt++) {
    if (tryRead(state)) return state;
    // Another process is within the few nanoseconds of a commit, or was put to sleep there, or is recovering.
    if (attempt >= 10) std::this_thread::sleep_for(std::chrono::microseconds(10 * attempt));
    // The index is not there yet, or a writer died while writing it: a read transaction makes or recovers it.
    if (attempt % 50 == 25) handle_.execute("PRAGMA schema_version", "opening the WAL");
  }
  Failure failure("SQLITE_PROTOCOL", "the wal-index header does not become readable");
  failure.fromSqlite = true;
  throw failure;
}

WalIndex::Block WalIndex::blockOf(uint32_t walIndex, bool mayExtend) {
  const uint32_t blockNo = blockNoOf(walIndex);
  volatile uint32_t* const words = map(blockNo, mayExtend);
  if (words == nullptr) throw corruptFailure("the wal-index ends before frame " + std::to_string(walIndex));
  auto* const slots = reinterpret_cast<volatile uint16_t*>(words + kFramesPerBlock);
  if (blockNo == 0) return {words + kHeaderWords, slots, 0};
  return {words, slots, kFramesInFirstBlock + (blockNo - 1) * kFramesPerBlock};
}

uint32_t WalIndex::pageNoOf(uint32_t walIndex) {
  const Block block = blockOf(walIndex, false);
  return block.pageNos[walIndex - block.firstBefore - 1];
}

// walCleanupHash(): a writer that died or failed left entries beyond the committed frames in the block of the
// last committed one. Later blocks are cleared whole when they are first used.
void WalIndex::forgetBeyond(uint32_t committedCount) {
  if (committedCount == 0) return;
  const Block block = blockOf(committedCount, true);
  const uint32_t keptCount = committedCount - block.firstBefore;
  for (uint32_t slot = 0; slot < kSlotCount; slot++) {
    if (block.slots[slot] > keptCount) block.slots[slot] = 0;
  }
  const volatile uint32_t* const end = reinterpret_cast<const volatile uint32_t*>(block.slots);
  for (volatile uint32_t* word = block.pageNos + keptCount; word < end; word++) *word = 0;
}

void WalIndex::append(uint32_t walIndex, uint32_t pageNo, uint32_t committedCount) {
  const Block block = blockOf(walIndex, true);
  const uint32_t place = walIndex - block.firstBefore;
  if (place == 1) {
    // No reader can need this block: every frame in it lies beyond the committed ones.
    const auto* const begin = reinterpret_cast<const volatile uint8_t*>(block.pageNos);
    const auto* const end = reinterpret_cast<const volatile uint8_t*>(block.slots + kSlotCount);
    std::memset(const_cast<uint32_t*>(block.pageNos), 0, static_cast<size_t>(end - begin));
  }
  if (block.pageNos[place - 1] != 0) forgetBeyond(committedCount);

  uint32_t slot = firstSlotOf(pageNo);
  for (uint32_t collisions = 0; block.slots[slot] != 0; slot = nextSlot(slot)) {
    if (++collisions > place) throw corruptFailure("the hash table of the wal-index is damaged");
  }
  // The page number first: a reader that finds the slot reads it.
  block.pageNos[place - 1] = pageNo;
  __atomic_store_n(&block.slots[slot], static_cast<uint16_t>(place), __ATOMIC_RELEASE);
}

void WalIndex::publish(WalIndexHeader& header) {
  header.isInit = 1;
  header.version = kWalVersion;
  const WalChecksum sum = headerChecksum(header);
  header.checksum[0] = sum.first;
  header.checksum[1] = sum.second;
  volatile uint32_t* const shared = firstBlock();
  // Frames and hash entries must be visible before the header that counts them. Second copy, then first: a
  // reader, which loads them the other way round, sees two different copies when it comes between.
  file_->pMethods->xShmBarrier(file_);
  copyToShared(shared + sizeof header / 4, header);
  file_->pMethods->xShmBarrier(file_);
  copyToShared(shared, header);
}

void WalIndex::restart(WalIndexHeader& header, uint32_t randomSalt) {
  header.frameCount = 0;
  storeBig32(header.salts.data(), loadBig32(header.salts.data()) + 1);
  std::memcpy(header.salts.data() + 4, &randomSalt, sizeof randomSalt);
  // In wal.c's order: with the header at 0 frames and nBackfill still old, a reader takes one of the marks 1
  // to 4, finds it locked and tries again. The other way round it would take the whole WAL for unfolded.
  publish(header);
  volatile uint32_t* const shared = firstBlock();
  __atomic_store_n(&shared[kFoldedWord], 0u, __ATOMIC_RELAXED);
  shared[kFoldAttemptedWord] = 0;
  shared[kReadMarkWord + 1] = 0;
  for (uint32_t mark = 2; mark < kReadMarkCount; mark++) shared[kReadMarkWord + mark] = kReadMarkUnused;
}

uint32_t WalIndex::readMark(uint32_t mark) {
  return __atomic_load_n(&firstBlock()[kReadMarkWord + mark], __ATOMIC_RELAXED);
}

void WalIndex::setReadMark(uint32_t mark, uint32_t walIndex) {
  __atomic_store_n(&firstBlock()[kReadMarkWord + mark], walIndex, __ATOMIC_RELAXED);
}

void WalIndex::setFoldAttempted(uint32_t walIndex) { firstBlock()[kFoldAttemptedWord] = walIndex; }

void WalIndex::setFolded(uint32_t walIndex) {
  __atomic_store_n(&firstBlock()[kFoldedWord], walIndex, __ATOMIC_RELEASE);
}

}  // namespace mylibsql
