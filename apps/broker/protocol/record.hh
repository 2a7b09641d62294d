// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <vector>

#include <broker/protocol/batch.hh>

/// Single records inside uncompressed batches, for clients: tests, the simulation, benchmarks.
/// The broker itself keeps batches opaque.
namespace weir::broker::protocol {

struct record {
    std::int64_t offset = 0;
    std::int64_t timestamp = 0;
    std::optional<byte_view> key;
    std::optional<byte_view> value;
    std::uint32_t header_count = 0;  ///< record_walk skips headers, batch_builder writes none
};

/// Builds one uncompressed batch.
class batch_builder {
  public:
    explicit batch_builder(std::int64_t base_offset = 0) : _base_offset(base_offset) {}

    /// Adds a record at the next offset.
    void add(std::int64_t timestamp, std::optional<byte_view> key, std::optional<byte_view> value);
    std::int32_t count() const noexcept { return _count; }
    /// returns  the batch, with length and checksum
    std::vector<std::byte> build() &&;

  private:
    std::int64_t _base_offset;
    std::int64_t _base_timestamp = 0;
    std::int64_t _max_timestamp = 0;
    std::int32_t _count = 0;
    writer _records;
};

/// Walks the records of an uncompressed batch, without trusting it.
class record_walk {
  public:
    explicit record_walk(const batch_view& batch) noexcept;

    /// returns  null behind the last record, or at damage: see failed()
    std::optional<record> next() noexcept;
    /// Whether the walk ended because records, count and bytes disagree.
    bool failed() const noexcept { return !_in.ok(); }

  private:
    std::int64_t _base_offset;
    std::int64_t _base_timestamp;
    std::int32_t _left;
    reader _in;
};

}  // namespace weir::broker::protocol
