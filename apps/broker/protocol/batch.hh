// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include <broker/protocol/errors.hh>
#include <broker/protocol/wire.hh>

namespace weir::broker::protocol {

/// CRC-32C (Castagnoli), as batches carry it.
std::uint32_t crc32c(byte_view bytes) noexcept;

enum class codec : std::uint8_t { none, gzip, snappy, lz4, zstd };

/// One record batch of magic 2, read in place and never copied: a 61-byte header, then records
/// that stay opaque. The checksum covers attributes to end, so that the base offset and the
/// leader epoch, which the broker assigns, can be patched without it.
/// source   Kafka DefaultRecordBatch
class batch_view {
  public:
    static constexpr std::size_t header_size = 61;
    /// What stands before the length's own count: base offset and the length field.
    static constexpr std::size_t length_overhead = 12;
    static constexpr std::int8_t magic = 2;
    static constexpr std::int64_t no_producer_id = -1;     // whoever has one is above
    static constexpr std::int16_t log_append_time = 0x08;  // of the attributes

    /// bytes    one whole batch, as batch_walk finds it
    explicit batch_view(byte_view bytes) noexcept;

    byte_view bytes() const noexcept { return _bytes; }
    byte_view records() const noexcept { return _bytes.subspan(header_size); }

    std::int64_t base_offset() const noexcept { return at<std::int64_t>(0); }
    std::int32_t leader_epoch() const noexcept { return at<std::int32_t>(12); }
    std::uint32_t crc() const noexcept { return at<std::uint32_t>(17); }
    std::int16_t attributes() const noexcept { return at<std::int16_t>(21); }
    std::int32_t last_offset_delta() const noexcept { return at<std::int32_t>(23); }
    std::int64_t base_timestamp() const noexcept { return at<std::int64_t>(27); }
    std::int64_t max_timestamp() const noexcept { return at<std::int64_t>(35); }
    std::int64_t producer_id() const noexcept { return at<std::int64_t>(43); }
    std::int16_t producer_epoch() const noexcept { return at<std::int16_t>(51); }
    std::int32_t base_sequence() const noexcept { return at<std::int32_t>(53); }
    std::int32_t record_count() const noexcept { return at<std::int32_t>(57); }

    /// Wraps where a damaged batch says more than fits.
    std::int64_t last_offset() const noexcept { return offset_at(last_offset_delta()); }
    std::int64_t next_offset() const noexcept {
        return offset_at(std::int64_t{last_offset_delta()} + 1);
    }

    /// returns  null for a number that no codec has
    std::optional<protocol::codec> codec() const noexcept;
    bool uses_log_append_time() const noexcept { return (attributes() & log_append_time) != 0; }
    bool is_transactional() const noexcept { return (attributes() & 0x10) != 0; }
    bool is_control() const noexcept { return (attributes() & 0x20) != 0; }

    /// cost     reads the batch once
    bool crc_matches() const noexcept;

  private:
    std::int64_t offset_at(std::int64_t delta) const noexcept {
        return static_cast<std::int64_t>(static_cast<std::uint64_t>(base_offset()) +
                                         static_cast<std::uint64_t>(delta));
    }
    template <std::integral Integer>
    Integer at(std::size_t offset) const noexcept {
        return load_big<Integer>(_bytes.data() + offset);
    }

    byte_view _bytes;
};

/// Walks concatenated batches, as a fetch returns them and a segment stores them. It looks at
/// lengths and magic only: whoever must trust the bytes asks each batch for crc_matches().
class batch_walk {
  public:
    enum class stop : std::uint8_t {
        end,      ///< the bytes ended with a batch
        partial,  ///< the rest may be the start of a batch: see wanted()
        invalid,  ///< the rest is no batch: a length below a header's, or another magic
    };

    explicit batch_walk(byte_view bytes) noexcept : _rest(bytes) {}

    /// returns  the next whole batch, null where the walk stops
    std::optional<batch_view> next() noexcept;
    /// Why next() returned null.
    stop stopped() const noexcept { return _stop; }
    /// What next() has not returned.
    byte_view rest() const noexcept { return _rest; }
    /// Bytes that the batch at rest() needs to be whole; a header's size while its length is not
    /// yet visible. Meaningful where the walk stopped at `partial`, and unverified: may be huge.
    std::size_t wanted() const noexcept;

  private:
    byte_view _rest;
    stop _stop = stop::end;
};

/// What is wrong with a produced payload, in the protocol's word and in a person's.
struct batch_fault {
    error_code code = error_code::none;
    const char* reason = "";

    bool ok() const noexcept { return code == error_code::none; }
};

/// Checks the frame and the header of what a Produce request has for one partition: exactly one
/// batch of magic 2, whole, checksummed, whose counts agree, with a codec that the request's
/// version allows, and neither a control batch nor part of a transaction, nor of a producer id,
/// for these are not given out. What its records say is for check_records().
/// returns  ok(), and then batch_view(payload) is safe
/// cost     reads the payload once, for the checksum
batch_fault check_produced(byte_view payload, std::int16_t produce_version) noexcept;

/// batch    one whole batch
void patch_base_offset(std::span<std::byte> batch, std::int64_t base_offset) noexcept;
void patch_leader_epoch(std::span<std::byte> batch, std::int32_t leader_epoch) noexcept;
/// Says that records bear their producers' times, of which this is the largest, and makes the
/// checksum true again.
void patch_times(std::span<std::byte> batch, std::int64_t max_timestamp) noexcept;

}  // namespace weir::broker::protocol
