// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>

#include <broker/protocol/compression.hh>

namespace weir::broker::protocol {

/// How far the records of a batch are looked at. Not all that costs time opens to something: empty
/// members and frames do not, so that what is to be opened is bounded, too.
struct scan_limits {
    std::size_t opened_bytes;  ///< that they may open to
    std::size_t elements;      ///< records and headers that may be among them
    std::size_t closed_bytes = std::numeric_limits<std::size_t>::max();  ///< of what is compressed
};

/// What a shard looks at itself, within a millisecond; the rest is for the pool.
inline constexpr scan_limits at_once{std::size_t{128} << 10, std::size_t{16} << 10,
                                     std::size_t{32} << 10};

/// What the broker knows of a record: where it stands, and when it was made.
struct record_place {
    std::int32_t offset_delta = 0;
    std::int64_t timestamp = 0;
};

/// Walks the records of a batch, compressed or not, without trusting them and without keeping any
/// of them: keys, values and headers are passed over.
/// thread   any, one at a time
class record_scan {
  public:
    enum class stop : std::uint8_t {
        end,      ///< as many records as the batch counts, and nothing behind them
        damaged,  ///< the bytes are no such records
        limit,    ///< of bytes or elements: nothing is known of what follows
        time,     ///< the record's timestamp is beyond what a timestamp can be
    };

    /// batch    outlives the scan; of a known codec
    /// fails    throws std::bad_alloc, as next() may
    record_scan(const batch_view& batch, scan_limits limits);

    /// returns  the next record, null where the scan stops
    std::optional<record_place> next();
    /// Why next() returned null.
    stop stopped() const noexcept { return _stop; }

  private:
    bool refill();
    bool take_byte(std::uint8_t& byte);
    bool skip(std::int64_t bytes);
    bool skip_sized(bool may_be_null);
    bool skip_headers();
    bool take_element();
    bool varint(std::int32_t& value);
    bool varlong(std::int64_t& value);
    bool base_128(int last_shift, std::uint64_t& value);
    bool read_record(record_place& place);
    bool fail(stop why) noexcept;
    std::uint64_t taken() const noexcept { return _opened - _piece.size(); }

    const std::int64_t _base_timestamp;
    std::int64_t _left;  // records that are to come
    scan_limits _limits;
    std::unique_ptr<opened_bytes> _bytes;
    byte_view _piece;           // opened and not yet taken
    std::uint64_t _opened = 0;  // bytes so far
    std::uint64_t _record_end = 0;
    bool _in_record = false;
    stop _stop = stop::end;
};

}  // namespace weir::broker::protocol
