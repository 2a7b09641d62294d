// SPDX-License-Identifier: Apache-2.0
#include <broker/protocol/batch.hh>

#include <limits>

#include <isa-l/crc.h>

#include <weir/core/assert.hh>

namespace weir::broker::protocol {

namespace {

constexpr std::size_t length_at = 8;
constexpr std::size_t leader_epoch_at = 12;
constexpr std::size_t magic_at = 16;
constexpr std::size_t crc_at = 17;
constexpr std::size_t checksummed_from = 21;
constexpr std::size_t attributes_at = 21;
constexpr std::size_t max_timestamp_at = 35;
constexpr std::int32_t smallest_length = batch_view::header_size - batch_view::length_overhead;

/// zstd may only be sent by clients whose consumers would know it (KIP-110).
constexpr std::int16_t first_produce_version_with_zstd = 7;

std::int32_t length_of(byte_view bytes) {
    return load_big<std::int32_t>(bytes.data() + length_at);
}

batch_fault check_frame(byte_view payload) {
    const auto magic_of = [&] { return static_cast<std::int8_t>(payload[magic_at]); };
    if (payload.empty()) {
        return {error_code::invalid_record, "no batch"};
    }
    if (payload.size() > magic_at && magic_of() != batch_view::magic) {
        return {magic_of() < batch_view::magic ? error_code::invalid_record
                                               : error_code::corrupt_message,
                "message format is not magic 2"};
    }
    if (payload.size() < batch_view::header_size) {
        return {error_code::invalid_record, "shorter than a batch header"};
    }
    if (length_of(payload) < smallest_length) {
        return {error_code::corrupt_message, "length is below a batch header's"};
    }
    const std::size_t size =
        batch_view::length_overhead + static_cast<std::size_t>(length_of(payload));
    if (size > payload.size()) {
        return {error_code::invalid_record, "length exceeds the payload"};
    }
    if (size < payload.size()) {
        return {error_code::invalid_record, "more than one batch"};
    }
    return {};
}

batch_fault check_counts(const batch_view& batch) {
    const std::int64_t count = batch.record_count();
    if (count < 1) {
        return {error_code::invalid_record, "no records in the batch"};
    }
    if (std::int64_t{batch.last_offset_delta()} + 1 != count) {
        return {error_code::invalid_record, "last offset delta disagrees with the record count"};
    }
    return {};
}

batch_fault check_attributes(const batch_view& batch, std::int16_t produce_version) {
    if (!batch.codec() ||
        (batch.codec() == codec::zstd && produce_version < first_produce_version_with_zstd)) {
        return {error_code::unsupported_compression_type, "codec is unknown or too new"};
    }
    if (batch.is_control()) {
        return {error_code::invalid_record, "a client may not write control batches"};
    }
    if (batch.is_transactional()) {
        return {error_code::invalid_txn_state, "transactions are not served"};
    }
    if (batch.producer_id() > batch_view::no_producer_id) {
        return {error_code::unknown_producer_id, "producer ids are not given out"};
    }
    if (batch.base_offset() != 0) {
        return {error_code::invalid_record, "base offset of a produced batch is not 0"};
    }
    return {};
}

}  // namespace

std::uint32_t crc32c(byte_view bytes) noexcept {
    // ISA-L leaves both inversions to its caller, takes a signed length, and does not write.
    std::uint32_t state = ~std::uint32_t{0};
    while (!bytes.empty()) {
        const auto chunk = bytes.first(
            std::min(bytes.size(), std::size_t{std::numeric_limits<std::int32_t>::max()}));
        auto* data = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(chunk.data()));
        state = crc32_iscsi(data, static_cast<int>(chunk.size()), state);
        bytes = bytes.subspan(chunk.size());
    }
    return ~state;
}

batch_view::batch_view(byte_view bytes) noexcept : _bytes(bytes) {
    WEIR_ASSERT(bytes.size() >= header_size);
}

std::optional<codec> batch_view::codec() const noexcept {
    const int number = attributes() & 0x07;
    if (number > static_cast<int>(protocol::codec::zstd)) {
        return std::nullopt;
    }
    return static_cast<protocol::codec>(number);
}

bool batch_view::crc_matches() const noexcept {
    return crc32c(_bytes.subspan(checksummed_from)) == crc();
}

std::optional<batch_view> batch_walk::next() noexcept {
    const bool foreign =
        (_rest.size() >= batch_view::length_overhead && length_of(_rest) < smallest_length) ||
        (_rest.size() > magic_at && static_cast<std::int8_t>(_rest[magic_at]) != batch_view::magic);
    if (foreign) {
        _stop = stop::invalid;
        return std::nullopt;
    }
    if (_rest.size() < wanted()) {
        _stop = _rest.empty() ? stop::end : stop::partial;
        return std::nullopt;
    }
    const std::size_t size = wanted();
    const batch_view batch(_rest.first(size));
    _rest = _rest.subspan(size);
    return batch;
}

std::size_t batch_walk::wanted() const noexcept {
    if (_rest.size() < batch_view::length_overhead) {
        return batch_view::header_size;
    }
    const std::int32_t length = std::max(length_of(_rest), smallest_length);
    return batch_view::length_overhead + static_cast<std::size_t>(length);
}

batch_fault check_produced(byte_view payload, std::int16_t produce_version) noexcept {
    if (const batch_fault fault = check_frame(payload); !fault.ok()) {
        return fault;
    }
    const batch_view batch(payload);
    if (!batch.crc_matches()) {
        return {error_code::corrupt_message, "checksum does not match"};
    }
    const batch_fault fault = check_attributes(batch, produce_version);
    return fault.ok() ? check_counts(batch) : fault;
}

void patch_base_offset(std::span<std::byte> batch, std::int64_t base_offset) noexcept {
    WEIR_ASSERT(batch.size() >= batch_view::header_size);
    store_big(batch.data(), base_offset);
}

void patch_times(std::span<std::byte> batch, std::int64_t max_timestamp) noexcept {
    WEIR_ASSERT(batch.size() >= batch_view::header_size);
    const auto attributes = load_big<std::int16_t>(batch.data() + attributes_at);
    store_big(batch.data() + attributes_at,
              static_cast<std::int16_t>(attributes & ~batch_view::log_append_time));
    store_big(batch.data() + max_timestamp_at, max_timestamp);
    store_big(batch.data() + crc_at, crc32c(batch.subspan(checksummed_from)));
}

void patch_leader_epoch(std::span<std::byte> batch, std::int32_t leader_epoch) noexcept {
    WEIR_ASSERT(batch.size() >= batch_view::header_size);
    store_big(batch.data() + leader_epoch_at, leader_epoch);
}

}  // namespace weir::broker::protocol
