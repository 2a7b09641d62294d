// SPDX-License-Identifier: Apache-2.0
#include <broker/protocol/record.hh>

#include <algorithm>
#include <limits>

#include <weir/core/assert.hh>

namespace weir::broker::protocol {

namespace {

void write_sized(writer& out, std::optional<byte_view> bytes) {
    if (!bytes) {
        out.varint(-1);
        return;
    }
    WEIR_ASSERT(bytes->size() <= std::size_t{std::numeric_limits<std::int32_t>::max()});
    out.varint(static_cast<std::int32_t>(bytes->size()));
    out.append(*bytes);
}

std::optional<byte_view> read_sized(reader& in, const char* field) {
    const std::int32_t size = in.varint(field);
    if (size < -1) {
        in.fail(field);
    }
    const byte_view bytes = in.take(static_cast<std::size_t>(std::max(size, 0)), field);
    if (size < 0 || !in.ok()) {
        return std::nullopt;
    }
    return bytes;
}

}  // namespace

void batch_builder::add(std::int64_t timestamp, std::optional<byte_view> key,
                        std::optional<byte_view> value) {
    if (_count == 0) {
        _base_timestamp = timestamp;
        _max_timestamp = timestamp;
    }
    _max_timestamp = std::max(_max_timestamp, timestamp);
    writer body;
    body.integer(std::int8_t{0});  // attributes: none are defined
    body.varlong(timestamp - _base_timestamp);
    body.varint(_count);
    write_sized(body, key);
    write_sized(body, value);
    body.varint(0);  // headers
    write_sized(_records, std::move(body).finish().flat());
    ++_count;
}

std::vector<std::byte> batch_builder::build() && {
    const std::vector<std::byte> records = std::move(_records).finish().flat();
    writer summed;                    // what the checksum covers
    summed.integer(std::int16_t{0});  // attributes: uncompressed, the client's time
    summed.integer(_count - 1);
    summed.integer(_base_timestamp);
    summed.integer(_max_timestamp);
    summed.integer(std::int64_t{-1});  // producer id, epoch and sequence: not idempotent
    summed.integer(std::int16_t{-1});
    summed.integer(std::int32_t{-1});
    summed.integer(_count);
    summed.append(records);
    const std::vector<std::byte> covered = std::move(summed).finish().flat();

    constexpr std::size_t before_covered = 9;  // leader epoch, magic, checksum
    writer out;
    out.integer(_base_offset);
    out.integer(static_cast<std::int32_t>(before_covered + covered.size()));
    out.integer(std::int32_t{-1});  // leader epoch: the broker's to say
    out.integer(batch_view::magic);
    out.integer(crc32c(covered));
    out.append(covered);
    return std::move(out).finish().flat();
}

record_walk::record_walk(const batch_view& batch) noexcept
    : _base_offset(batch.base_offset()),
      _base_timestamp(batch.base_timestamp()),
      _left(batch.record_count()),
      _in(batch.records()) {
    if (batch.codec() != codec::none || _left < 0) {
        _in.fail("batch");
    }
}

std::optional<record> record_walk::next() noexcept {
    if (_left == 0 && _in.remaining() != 0) {
        _in.fail("bytes behind the last record");
    }
    if (_left == 0 || !_in.ok()) {
        return std::nullopt;
    }
    --_left;
    const auto body = read_sized(_in, "record");
    reader in(body.value_or(byte_view{}));
    record found;
    in.integer<std::int8_t>("attributes");
    // Wraps rather than overflows: a damaged delta is any number.
    found.timestamp = static_cast<std::int64_t>(static_cast<std::uint64_t>(_base_timestamp) +
                                                static_cast<std::uint64_t>(in.varlong("delta")));
    found.offset = static_cast<std::int64_t>(static_cast<std::uint64_t>(_base_offset) +
                                             static_cast<std::uint64_t>(in.varint("delta")));
    found.key = read_sized(in, "key");
    found.value = read_sized(in, "value");
    const std::int32_t headers = in.varint("headers");
    if (headers < 0) {
        in.fail("headers");
    }
    for (std::int32_t i = 0; i < headers && in.ok(); ++i) {
        read_sized(in, "header name");
        read_sized(in, "header value");
        ++found.header_count;
    }
    if (!in.ok() || in.remaining() != 0) {
        _in.fail("record");
        return std::nullopt;
    }
    return found;
}

}  // namespace weir::broker::protocol
