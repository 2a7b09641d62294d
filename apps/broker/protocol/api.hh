// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

#include <broker/protocol/wire.hh>

namespace weir::broker::protocol {

enum class api_key : std::int16_t {
    produce = 0,
    fetch = 1,
    list_offsets = 2,
    metadata = 3,
    find_coordinator = 10,
    api_versions = 18,
};

struct version_range {
    std::int16_t first;
    std::int16_t last;

    constexpr bool contains(std::int16_t version) const noexcept {
        return first <= version && version <= last;
    }
};

struct api {
    api_key key;
    std::string_view name;
    version_range advertised;    ///< what ApiVersions promises, and what decodes
    version_range served;        ///< what is done; the rest of `advertised` gets an error
    std::int16_t flexible_from;  ///< first version with compact lengths and tagged fields
};

/// Every API that the broker knows, by key. A range is widened only together with its fields.
/// Produce is advertised from 0 because librdkafka compresses only if it finds 0 there; nothing
/// that speaks 3 uses less, and who does is refused per partition with unsupported_version.
/// FindCoordinator 0 is what librdkafka's lz4 asks for.
inline constexpr api apis[] = {
    {api_key::produce, "produce", {0, 7}, {3, 7}, 9},
    {api_key::fetch, "fetch", {4, 11}, {4, 11}, 12},
    {api_key::list_offsets, "list_offsets", {1, 2}, {1, 2}, 6},
    {api_key::metadata, "metadata", {0, 4}, {0, 4}, 9},
    {api_key::find_coordinator, "find_coordinator", {0, 0}, {0, 0}, 3},
    {api_key::api_versions, "api_versions", {0, 3}, {0, 3}, 3},
};

/// returns  the row of the table, null for an API that the broker doesn't know
constexpr const api* find_api(api_key key) noexcept {
    for (const api& known : apis) {
        if (known.key == key) {
            return &known;
        }
    }
    return nullptr;
}

constexpr std::string_view name(api_key key) noexcept {
    const api* known = find_api(key);
    return known ? known->name : "?";
}

/// returns  the name that Kafka has for an API, also for those that the broker doesn't know; "?"
///          for a number that is no API's
std::string_view kafka_name(api_key key) noexcept;

/// How bodies of this version are written. An unknown API counts as classic.
constexpr form body_form(api_key key, std::int16_t version) noexcept {
    const api* known = find_api(key);
    return known && version >= known->flexible_from ? form::compact : form::classic;
}

constexpr std::int16_t request_header_version(api_key key, std::int16_t version) noexcept {
    return body_form(key, version) == form::compact ? 2 : 1;
}

/// ApiVersions answers with header 0 for ever: who asks can't know yet what the broker speaks.
constexpr std::int16_t response_header_version(api_key key, std::int16_t version) noexcept {
    return key != api_key::api_versions && body_form(key, version) == form::compact ? 1 : 0;
}

}  // namespace weir::broker::protocol
