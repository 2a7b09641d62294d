// SPDX-License-Identifier: Apache-2.0
#include <broker/storage/uuid.hh>

#include <broker/protocol/wire.hh>

#include <weir/core/shard.hh>

namespace weir::broker {

namespace {

constexpr std::string_view letters =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
constexpr std::size_t text_length = 22;

}  // namespace

uuid random_uuid() {
    uuid made;
    do {
        protocol::store_big(made.bytes.data(), this_shard().random());
        protocol::store_big(made.bytes.data() + 8, this_shard().random());
        made.bytes[6] = (made.bytes[6] & std::byte{0x0f}) | std::byte{0x40};
        made.bytes[8] = (made.bytes[8] & std::byte{0x3f}) | std::byte{0x80};
    } while (to_text(made).starts_with('-'));
    return made;
}

std::string to_text(const uuid& of) {
    std::string text;
    unsigned pending = 0;
    unsigned bits = 0;
    for (const std::byte each : of.bytes) {
        pending = (pending << 8 | std::to_integer<unsigned>(each)) & 0xffff;
        bits += 8;
        while (bits >= 6) {
            bits -= 6;
            text += letters[pending >> bits & 63];
        }
    }
    text += letters[pending << (6 - bits) & 63];
    return text;
}

std::optional<uuid> uuid_of(std::string_view text) {
    uuid found;
    std::size_t to = 0;
    unsigned pending = 0;
    unsigned bits = 0;
    for (const char each : text) {
        const std::size_t value = letters.find(each);
        if (value == std::string_view::npos || text.size() != text_length) {
            return std::nullopt;
        }
        pending = (pending << 6 | static_cast<unsigned>(value)) & 0xffff;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            found.bytes.at(to++) = std::byte{static_cast<unsigned char>(pending >> bits)};
        }
    }
    return to_text(found) == text ? std::optional(found) : std::nullopt;
}

}  // namespace weir::broker
