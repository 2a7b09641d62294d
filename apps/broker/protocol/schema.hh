// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>
#include <type_traits>
#include <vector>

#include <broker/protocol/wire.hh>

/// One field list per message. A message is a struct with a static function template
///
///     template <class Visitor, class Self>
///     static void fields(Visitor& v, Self& m) {
///         v.field("cluster_id", m.cluster_id, {.since = 2});
///     }
///
/// which decodes, encodes, measures and prints every version, depending on the visitor. The type
/// of the member says the rest: bool, integers and enums; std::string_view and record_span, which
/// point into the frame; std::vector for arrays; std::optional around these where null is legal;
/// other messages in line. A field that is absent from a version keeps its default.
namespace weir::broker::protocol {

/// Opaque record batches, null or not: decoded as one view, encoded by reference. What is encoded
/// may lie in several pieces, one after the other.
struct record_span {
    byte_view bytes;
    std::vector<byte_view> further{};

    std::size_t size() const noexcept {
        std::size_t sum = bytes.size();
        for (const byte_view piece : further) {
            sum += piece.size();
        }
        return sum;
    }
    friend bool operator==(const record_span& a, const record_span& b) {
        return a.further.empty() && b.further.empty() &&
               std::equal(a.bytes.begin(), a.bytes.end(), b.bytes.begin(), b.bytes.end());
    }
};

/// In which versions a field is on the wire.
struct present {
    std::int16_t since = 0;
    std::int16_t until = std::numeric_limits<std::int16_t>::max();
    std::int16_t null_since = 0;  ///< first version in which an optional member may be null
    bool always_classic = false;  ///< written classic in flexible versions too

    constexpr bool in(std::int16_t version) const noexcept {
        return since <= version && version <= until;
    }
};

namespace detail {

template <class T>
struct unwrapped {
    using type = T;
};
template <class T>
struct unwrapped<std::optional<T>> {
    using type = T;
};

template <class T>
constexpr bool is_optional = !std::is_same_v<T, typename unwrapped<T>::type>;
template <class T>
constexpr bool is_array = false;
template <class T>
constexpr bool is_array<std::vector<T>> = true;

/// Values that carry their own length, and can therefore be null.
template <class T>
constexpr bool is_sized = is_optional<T> || is_array<T> || std::is_same_v<T, std::string_view> ||
                          std::is_same_v<T, record_span>;

template <class T>
struct wire_integer {
    using type = T;
};
template <>
struct wire_integer<bool> {
    using type = std::int8_t;
};
template <class T>
    requires std::is_enum_v<T>
struct wire_integer<T> {
    using type = std::underlying_type_t<T>;
};

template <class T>
constexpr bool is_number = std::is_integral_v<T> || std::is_enum_v<T>;

}  // namespace detail

/// Bytes that the smallest T takes, which bounds how many of them a frame can hold.
template <class T>
constexpr std::size_t smallest(std::int16_t version, form how);

namespace detail {

struct measurer {
    std::int16_t version;
    form how;
    std::size_t size = 0;

    template <class T>
    constexpr void field(const char*, const T&, present when = {}) {
        if (when.in(version)) {
            size += smallest<T>(version, when.always_classic ? form::classic : how);
        }
    }
    template <class T>
    constexpr void tagged(std::uint32_t, const char*, const T&, const std::type_identity_t<T>& = {},
                          present = {}) {}
};

}  // namespace detail

template <class T>
constexpr std::size_t smallest(std::int16_t version, form how) {
    using value = typename detail::unwrapped<T>::type;
    if constexpr (detail::is_number<value>) {
        return sizeof(typename detail::wire_integer<value>::type);
    } else if constexpr (detail::is_sized<value>) {
        return how == form::compact ? 1 : std::is_same_v<value, std::string_view> ? 2 : 4;
    } else {
        detail::measurer measurer{version, how};
        const value message{};
        value::fields(measurer, message);
        return measurer.size + (how == form::compact ? 1 : 0);
    }
}

}  // namespace weir::broker::protocol
