// SPDX-License-Identifier: Apache-2.0
#include <broker/protocol/wire.hh>

#include <limits>

#include <weir/core/assert.hh>

namespace weir::broker::protocol {

namespace {

constexpr std::uint64_t zigzag(std::int64_t value) {
    return (static_cast<std::uint64_t>(value) << 1) ^ static_cast<std::uint64_t>(value >> 63);
}

constexpr std::int64_t unzigzag(std::uint64_t value) {
    return static_cast<std::int64_t>((value >> 1) ^ (~(value & 1) + 1));
}

}  // namespace

void reader::fail(const char* field) noexcept {
    if (ok()) {
        _failed_field = field;
        _rest = {};
    }
}

byte_view reader::take(std::size_t size, const char* field) noexcept {
    if (size > _rest.size()) {
        fail(field);
        return {};
    }
    const byte_view taken = _rest.first(size);
    _rest = _rest.subspan(size);
    return taken;
}

std::uint64_t reader::base_128(int last_shift, std::uint8_t last_byte_limit,
                               const char* field) noexcept {
    std::uint64_t value = 0;
    for (int shift = 0; ok(); shift += 7) {
        const auto byte = integer<std::uint8_t>(field);
        if (shift == last_shift && byte > last_byte_limit) {
            fail(field);
            break;
        }
        value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
        if (byte < 0x80) {
            return ok() ? value : 0;
        }
    }
    return 0;
}

std::uint32_t reader::unsigned_varint(const char* field) noexcept {
    return static_cast<std::uint32_t>(base_128(28, 0x0f, field));
}

std::int32_t reader::varint(const char* field) noexcept {
    return static_cast<std::int32_t>(unzigzag(unsigned_varint(field)));
}

std::int64_t reader::varlong(const char* field) noexcept {
    return unzigzag(base_128(63, 0x01, field));
}

template <std::signed_integral Classic>
std::optional<std::size_t> reader::length(form how, const char* field) noexcept {
    const std::int64_t value = how == form::classic ? std::int64_t{integer<Classic>(field)}
                                                    : std::int64_t{unsigned_varint(field)} - 1;
    if (!ok() || value < 0) {  // for Kafka any length below 0 is null
        return std::nullopt;
    }
    return static_cast<std::size_t>(value);
}

std::optional<std::string_view> reader::string(form how, const char* field) noexcept {
    const auto size = length<std::int16_t>(how, field);
    const byte_view taken = take(size.value_or(0), field);
    if (!size || !ok()) {
        return std::nullopt;
    }
    return std::string_view(reinterpret_cast<const char*>(taken.data()), taken.size());
}

std::optional<byte_view> reader::bytes(form how, const char* field) noexcept {
    const auto size = length<std::int32_t>(how, field);
    const byte_view taken = take(size.value_or(0), field);
    if (!size || !ok()) {
        return std::nullopt;
    }
    return taken;
}

std::optional<std::size_t> reader::count(form how, std::size_t smallest,
                                         const char* field) noexcept {
    const auto elements = length<std::int32_t>(how, field);
    if (elements && *elements > remaining() / smallest) {
        fail(field);
        return std::nullopt;
    }
    return elements && admit_elements(*elements, field) ? elements : std::nullopt;
}

std::size_t frame::size() const noexcept {
    std::size_t total = _owned.size();
    for (const splice& borrowed : _borrowed) {
        total += borrowed.bytes.size();
    }
    return total;
}

std::vector<byte_view> frame::pieces() const {
    std::vector<byte_view> pieces;
    pieces.reserve(2 * _borrowed.size() + 1);
    const byte_view owned = _owned;
    std::size_t done = 0;
    for (const splice& borrowed : _borrowed) {
        if (borrowed.at > done) {
            pieces.push_back(owned.subspan(done, borrowed.at - done));
        }
        pieces.push_back(borrowed.bytes);
        done = borrowed.at;
    }
    if (done < owned.size()) {
        pieces.push_back(owned.subspan(done));
    }
    return pieces;
}

std::vector<std::byte> frame::flat() const {
    std::vector<std::byte> flat;
    flat.reserve(size());
    for (const byte_view piece : pieces()) {
        flat.insert(flat.end(), piece.begin(), piece.end());
    }
    return flat;
}

void writer::append(byte_view bytes) {
    _frame._owned.insert(_frame._owned.end(), bytes.begin(), bytes.end());
}

void writer::base_128(std::uint64_t value) {
    while (value >= 0x80) {
        integer(static_cast<std::uint8_t>(value | 0x80));
        value >>= 7;
    }
    integer(static_cast<std::uint8_t>(value));
}

void writer::unsigned_varint(std::uint32_t value) {
    base_128(value);
}

void writer::varint(std::int32_t value) {
    base_128(zigzag(value));
}

void writer::varlong(std::int64_t value) {
    base_128(zigzag(value));
}

template <std::signed_integral Classic>
void writer::length(form how, std::optional<std::size_t> value) {
    WEIR_ASSERT(value.value_or(0) <= std::size_t{std::numeric_limits<Classic>::max()});
    if (how == form::classic) {
        integer(value ? static_cast<Classic>(*value) : Classic{-1});
    } else {
        unsigned_varint(value ? static_cast<std::uint32_t>(*value + 1) : 0);
    }
}

void writer::string(form how, std::optional<std::string_view> value) {
    length<std::int16_t>(how, value ? std::optional(value->size()) : std::nullopt);
    if (value) {
        append(std::as_bytes(std::span(*value)));
    }
}

void writer::bytes(form how, std::optional<byte_view> value) {
    length<std::int32_t>(how, value ? std::optional(value->size()) : std::nullopt);
    if (value) {
        append(*value);
    }
}

void writer::borrow(form how, std::optional<byte_view> value, std::span<const byte_view> further) {
    if (!value) {
        bytes(how, value);
        return;
    }
    std::size_t total = value->size();
    for (const byte_view piece : further) {
        total += piece.size();
    }
    length<std::int32_t>(how, total);
    splice(*value);
    for (const byte_view piece : further) {
        splice(piece);
    }
}

void writer::splice(byte_view piece) {
    if (piece.size() < copy_below) {
        append(piece);
    } else {
        _frame._borrowed.push_back({_frame._owned.size(), piece});
    }
}

void writer::count(form how, std::optional<std::size_t> elements) {
    length<std::int32_t>(how, elements);
}

frame writer::close_frame() && {
    const std::size_t body = _frame.size() - sizeof(std::int32_t);
    WEIR_ASSERT(body <= std::size_t{std::numeric_limits<std::int32_t>::max()});
    store_big(_frame._owned.data(), static_cast<std::int32_t>(body));
    return std::move(_frame);
}

}  // namespace weir::broker::protocol
