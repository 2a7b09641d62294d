// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <broker/protocol/batch.hh>

namespace weir::broker {

/// The two sparse indexes of one segment, in memory and as Kafka's files have them: where a batch
/// with an offset starts, and up to which offset all timestamps are older. An entry is made each
/// `interval` bytes, and at finish() one for the last batch: it proves that a sealed file is whole.
/// Where twice `most` have come together every other goes, and the interval is doubled.
/// source   Kafka LogSegment.append, OffsetIndex, TimeIndex
class segment_index {
  public:
    static constexpr std::size_t offset_entry_bytes = 8;
    static constexpr std::size_t time_entry_bytes = 12;
    static constexpr std::size_t unbounded = SIZE_MAX / 2;

    segment_index() = default;
    segment_index(std::int64_t base_offset, std::uint64_t interval_bytes,
                  std::size_t most = unbounded) noexcept
        : _base_offset(base_offset),
          _begins{0, base_offset},
          _interval_bytes(interval_bytes),
          _most(most) {}

    /// Knows nothing of what lies before a batch: see put_before().
    void begin_at(std::uint64_t position, std::int64_t offset) noexcept;
    /// Whether it knows where to look for an offset.
    bool covers(std::int64_t offset) const noexcept { return offset >= _begins.offset; }
    /// Adds what lies before begin_at(). What reserve() made room for keeps it.
    /// earlier  of the same segment, from its start on
    void put_before(segment_index earlier);

    /// Whether a batch can be in this segment: entries have 31 bits for offsets and positions.
    bool can_hold(const protocol::batch_view& batch, std::uint64_t position) const noexcept;
    /// Takes note of the next batch of the segment, which it can hold.
    void add(const protocol::batch_view& batch, std::uint64_t position);
    /// Makes room for all entries of `bytes` of batches: add() needs no memory for these.
    void reserve(std::size_t bytes);
    /// Adds the entries that a sealed segment ends with.
    void finish();
    /// Leaves at most `limit` entries of each kind, evenly; the first, the last and what finish()
    /// needs stay.
    void thin(std::size_t limit);
    /// Leaves what is known of the last batch and of the largest timestamp: look-ups lead to the
    /// segment's start.
    void drop_entries() noexcept;

    /// A batch that the index knows: by its last offset, or, if it is the first, by its first.
    struct place {
        std::uint64_t position;
        std::int64_t first_offset;  ///< -1: not known
        std::int64_t last_offset;   ///< likewise
    };
    /// returns  a batch at or before the one that has `offset`, which it covers
    place place_before(std::int64_t offset) const noexcept;
    /// returns  an offset such that all batches that end before it are older than `timestamp`
    std::int64_t offset_before(std::int64_t timestamp) const noexcept;
    /// returns  -1 if no batch has a timestamp
    std::int64_t max_timestamp() const noexcept { return _max_timestamp; }

    struct last_batch {
        std::int64_t last_offset;
        std::uint64_t position;
    };
    /// returns  what finish() noted of the last batch, null if the segment is empty
    std::optional<last_batch> last() const noexcept;

    /// The contents of the .index and .timeindex files.
    std::vector<std::byte> encode_offsets() const;
    std::vector<std::byte> encode_times() const;
    /// returns  false if the bytes can't be those of such files
    bool decode(std::span<const std::byte> offsets, std::span<const std::byte> times);
    /// Likewise of the last entry of each, without those before: as after drop_entries().
    bool decode_last(std::span<const std::byte> offset, std::span<const std::byte> time);

    /// Memory that its entries take.
    std::size_t bytes() const noexcept {
        return _offsets.capacity() * sizeof(offset_entry) + _times.capacity() * sizeof(time_entry);
    }
    std::size_t entries() const noexcept { return _offsets.size(); }

  private:
    struct offset_entry {
        std::int32_t relative_offset;  // of the batch's last record
        std::int32_t position;
    };
    struct time_entry {
        std::int64_t timestamp;        // the largest so far
        std::int32_t relative_offset;  // the last offset of the batch that has it
    };

    struct beginning {
        std::uint64_t position = 0;
        std::int64_t offset = 0;
    };

    void add_time();
    void halve() noexcept;

    std::int64_t _base_offset = 0;
    beginning _begins;
    std::uint64_t _interval_bytes = 4096;
    std::size_t _most = unbounded;
    std::vector<offset_entry> _offsets;
    std::vector<time_entry> _times;
    std::uint64_t _since_entry = 0;
    std::int64_t _max_timestamp = -1;
    std::int32_t _max_timestamp_at = 0;
    offset_entry _last{-1, 0};
};

}  // namespace weir::broker
