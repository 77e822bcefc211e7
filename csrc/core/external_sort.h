// Sorting and keeping more records than memory holds: numbers that go to a temporary file when they become many, and a
// stable radix sort on several threads.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace edgeasr {

// A file without a name, gone with the object.
class TempFile {
 public:
  // Throws InputError when none can be made in the folder.
  explicit TempFile(const std::string& folder);
  TempFile(const TempFile&) = delete;
  TempFile& operator=(const TempFile&) = delete;
  ~TempFile();

  // Throw InputError, for example when the disk is full.
  void append(const void* data, std::size_t size);
  // Bytes that have been appended.
  void read(std::uint64_t offset, void* data, std::size_t size) const;

 private:
  std::string folder_;
  int descriptor_ = -1;
};

// Records in the order in which they came, in memory up to a limit, and from there on in a temporary file.
template <class Record>
class SpillVector {
 public:
  // `max_records` are held in memory.
  SpillVector(std::size_t max_records, std::string folder)
      : max_records_(std::max<std::size_t>(max_records, 1024)), folder_(std::move(folder)) {}

  void push_back(const Record& record) {
    if (buffer_.size() >= max_records_) spill();
    // Memory that is not written to is not taken.
    if (buffer_.capacity() == 0) buffer_.reserve(max_records_);
    buffer_.push_back(record);
  }
  std::uint64_t size() const { return num_spilled_ + buffer_.size(); }
  bool spilled() const { return file_ != nullptr; }
  // Everything, when nothing was spilled.
  std::vector<Record>& in_memory() { return buffer_; }

  // Visits all records in order.
  template <class Visit>
  void for_each(Visit&& visit) const {
    std::vector<Record> block(std::min<std::uint64_t>(num_spilled_, 1U << 14U));
    for (std::uint64_t at = 0; at < num_spilled_; at += block.size()) {
      const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(block.size(), num_spilled_ - at));
      file_->read(at * sizeof(Record), block.data(), count * sizeof(Record));
      for (std::size_t index = 0; index < count; ++index) visit(block[index]);
    }
    for (const Record& record : buffer_) visit(record);
  }

 private:
  void spill() {
    if (file_ == nullptr) file_ = std::make_unique<TempFile>(folder_);
    file_->append(buffer_.data(), buffer_.size() * sizeof(Record));
    num_spilled_ += buffer_.size();
    buffer_.clear();
    // What is in the file is read again from the start; a small buffer does for the rest.
    constexpr std::size_t kSmall = 1U << 16U;
    if (max_records_ > kSmall) {
      max_records_ = kSmall;
      buffer_.shrink_to_fit();
    }
  }

  std::size_t max_records_;
  std::string folder_;
  std::vector<Record> buffer_;
  std::uint64_t num_spilled_ = 0;
  std::unique_ptr<TempFile> file_;
};

// A number of 128 bits, as far as sorting and packing need one.
struct Key128 {
  std::uint64_t high = 0;
  std::uint64_t low = 0;

  friend bool operator==(const Key128& a, const Key128& b) { return a.high == b.high && a.low == b.low; }
  friend bool operator<(const Key128& a, const Key128& b) { return a.high != b.high ? a.high < b.high : a.low < b.low; }
};

// `bits` (at most 32) bits of a key, from bit `shift` up.
inline std::uint64_t key_bits(std::uint64_t key, int shift, int bits) {
  return (key >> shift) & ((std::uint64_t{1} << bits) - 1);
}
inline std::uint64_t key_bits(const Key128& key, int shift, int bits) {
  std::uint64_t value = 0;
  if (shift >= 64) {
    value = key.high >> (shift - 64);
  } else if (shift == 0) {
    value = key.low;
  } else {
    value = (key.low >> shift) | (key.high << (64 - shift));
  }
  return value & ((std::uint64_t{1} << bits) - 1);
}
// The key moved up by `bits` (1 to 32), and `value` below.
inline std::uint64_t key_append(std::uint64_t key, int bits, std::uint64_t value) { return (key << bits) | value; }
inline Key128 key_append(const Key128& key, int bits, std::uint64_t value) {
  // NOLINTNEXTLINE(clang-analyzer-core.BitwiseShift): 1 to 32 by contract
  return {(key.high << bits) | (key.low >> (64 - bits)), (key.low << bits) | value};
}
// The key moved down by `bits` (1 to 32).
inline std::uint64_t key_drop(std::uint64_t key, int bits) { return key >> bits; }
inline Key128 key_drop(const Key128& key, int bits) {
  return {key.high >> bits, (key.low >> bits) | (key.high << (64 - bits))};
}
// The place of the highest bit in which two different keys differ.
inline int highest_difference(std::uint64_t a, std::uint64_t b) { return 63 - __builtin_clzll(a ^ b); }
inline int highest_difference(const Key128& a, const Key128& b) {
  return a.high != b.high ? 64 + highest_difference(a.high, b.high) : highest_difference(a.low, b.low);
}

inline const std::uint64_t& key_of(const std::uint64_t& key) { return key; }
inline const Key128& key_of(const Key128& key) { return key; }
template <class Record>
auto key_of(const Record& record) -> const decltype(record.key)& {
  return record.key;
}

// Calls work(thread) on as many threads, the calling one among them.
template <class Work>
void run_on_threads(int num_threads, const Work& work) {
  std::vector<std::thread> threads;
  threads.reserve(static_cast<std::size_t>(num_threads));
  for (int index = 1; index < num_threads; ++index) threads.emplace_back([&work, index] { work(index); });
  work(0);
  for (std::thread& thread : threads) thread.join();
}

// Sorts by the bits [first_bit, first_bit + num_bits) of the keys; records that are equal there keep their order.
template <class Record>
void radix_sort(std::vector<Record>& records, int first_bit, int num_bits, int num_threads) {
  constexpr int kMaxDigit = 11;
  constexpr std::size_t kFewRecords = 1U << 16U;
  const std::size_t size = records.size();
  if (size < 2 || num_bits <= 0) return;
  if (size < kFewRecords) num_threads = 1;
  const int passes = (num_bits + kMaxDigit - 1) / kMaxDigit;
  const int digit_bits = (num_bits + passes - 1) / passes;
  const std::size_t num_digits = std::size_t{1} << digit_bits;
  const auto parts = static_cast<std::size_t>(num_threads);
  std::vector<Record> scratch(size);
  std::vector<std::vector<std::size_t>> counts(parts);
  const auto begin_of = [&](std::size_t part) { return size / parts * part + std::min(part, size % parts); };
  for (int pass = 0; pass < passes; ++pass) {
    const int shift = first_bit + pass * digit_bits;
    const int bits = std::min(digit_bits, first_bit + num_bits - shift);
    run_on_threads(num_threads, [&](int thread) {
      const auto part = static_cast<std::size_t>(thread);
      std::vector<std::size_t>& own = counts[part];
      own.assign(num_digits, 0);
      const std::size_t end = begin_of(part + 1);
      for (std::size_t at = begin_of(part); at < end; ++at) ++own[key_bits(key_of(records[at]), shift, bits)];
    });
    std::size_t start = 0;
    for (std::size_t digit = 0; digit < num_digits; ++digit) {
      for (std::size_t part = 0; part < parts; ++part) {
        const std::size_t count = counts[part][digit];
        counts[part][digit] = start;
        start += count;
      }
    }
    run_on_threads(num_threads, [&](int thread) {
      const auto part = static_cast<std::size_t>(thread);
      std::vector<std::size_t>& own = counts[part];
      const std::size_t end = begin_of(part + 1);
      for (std::size_t at = begin_of(part); at < end; ++at) {
        scratch[own[key_bits(key_of(records[at]), shift, bits)]++] = records[at];
      }
    });
    records.swap(scratch);
  }
}

// Sorts any number of records by their keys: runs that fill the memory are sorted, written to a temporary file, and
// merged when they are read.
template <class Record>
class ExternalSorter {
 public:
  struct Config {
    std::size_t max_records = 0;  // held in memory; sorting needs room for as many again
    int key_bits = 64;
    // Below this bit the records of a run come sorted already.
    int sorted_bits = 0;
    int num_threads = 1;
    std::string folder;
  };

  explicit ExternalSorter(Config config) : config_(std::move(config)) {
    config_.max_records = std::max<std::size_t>(config_.max_records, 1024);
  }

  void push_back(const Record& record) {
    if (buffer_.size() >= config_.max_records) {
      sort_buffer();
      write_run();
    }
    if (buffer_.capacity() == 0) buffer_.reserve(config_.max_records);
    buffer_.push_back(record);
  }

  // Takes the records instead of copying them, when there are no others.
  void take(std::vector<Record>&& records) { buffer_ = std::move(records); }

  // Visits all records by ascending key; those with equal keys in the order in which they came. Once.
  template <class Visit>
  void for_each(Visit&& visit) {
    sort_buffer();
    if (runs_.empty()) {
      for (const Record& record : buffer_) visit(record);
      buffer_ = {};
      return;
    }
    write_run();
    buffer_ = {};
    merge(visit);
  }

 private:
  struct Run {
    std::uint64_t offset = 0;
    std::uint64_t size = 0;
  };
  struct Cursor {
    std::uint64_t offset = 0;
    std::uint64_t left = 0;
    std::vector<Record> block;
    std::size_t at = 0;
  };

  void sort_buffer() {
    radix_sort(buffer_, config_.sorted_bits, config_.key_bits - config_.sorted_bits, config_.num_threads);
  }

  void write_run() {
    if (buffer_.empty()) return;
    if (file_ == nullptr) file_ = std::make_unique<TempFile>(config_.folder);
    file_->append(buffer_.data(), buffer_.size() * sizeof(Record));
    runs_.push_back({end_, buffer_.size()});
    end_ += buffer_.size() * sizeof(Record);
    buffer_.clear();
  }

  bool refill(Cursor& cursor, std::size_t block_size) {
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(block_size, cursor.left));
    cursor.block.resize(count);
    cursor.at = 0;
    if (count == 0) return false;
    file_->read(cursor.offset, cursor.block.data(), count * sizeof(Record));
    cursor.offset += count * sizeof(Record);
    cursor.left -= count;
    return true;
  }

  template <class Visit>
  void merge(Visit& visit) {
    const std::size_t block_size = std::clamp<std::size_t>(config_.max_records / runs_.size(), 256, 1U << 16U);
    std::vector<Cursor> cursors(runs_.size());
    std::vector<std::size_t> heap;
    const auto after = [&](std::size_t a, std::size_t b) {
      const auto& first = key_of(cursors[a].block[cursors[a].at]);
      const auto& second = key_of(cursors[b].block[cursors[b].at]);
      return second < first || (!(first < second) && b < a);
    };
    for (std::size_t index = 0; index < runs_.size(); ++index) {
      cursors[index].offset = runs_[index].offset;
      cursors[index].left = runs_[index].size;
      if (refill(cursors[index], block_size)) heap.push_back(index);
    }
    std::make_heap(heap.begin(), heap.end(), after);
    while (!heap.empty()) {
      std::pop_heap(heap.begin(), heap.end(), after);
      Cursor& cursor = cursors[heap.back()];
      visit(cursor.block[cursor.at]);
      if (++cursor.at == cursor.block.size() && !refill(cursor, block_size)) {
        heap.pop_back();
      } else {
        std::push_heap(heap.begin(), heap.end(), after);
      }
    }
    file_.reset();
  }

  Config config_;
  std::vector<Record> buffer_;
  std::unique_ptr<TempFile> file_;
  std::vector<Run> runs_;
  std::uint64_t end_ = 0;
};

}  // namespace edgeasr
