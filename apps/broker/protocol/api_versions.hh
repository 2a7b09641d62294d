// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <vector>

#include <broker/protocol/api.hh>
#include <broker/protocol/errors.hh>
#include <broker/protocol/schema.hh>

namespace weir::broker::protocol {

struct api_versions_request {
    static constexpr api_key key = api_key::api_versions;

    std::string_view client_software_name;
    std::string_view client_software_version;

    template <class Visitor, class Self>
    static void fields(Visitor& v, Self& m) {
        v.field("client_software_name", m.client_software_name, {.since = 3});
        v.field("client_software_version", m.client_software_version, {.since = 3});
    }
    bool operator==(const api_versions_request&) const = default;
};

struct api_versions_response {
    static constexpr api_key key = api_key::api_versions;

    struct range {
        api_key key{};
        std::int16_t min_version = 0;
        std::int16_t max_version = 0;

        template <class Visitor, class Self>
        static void fields(Visitor& v, Self& m) {
            v.field("api_key", m.key);
            v.field("min_version", m.min_version);
            v.field("max_version", m.max_version);
        }
        bool operator==(const range&) const = default;
    };

    error_code error = error_code::none;
    std::vector<range> api_keys;
    std::int32_t throttle_time_ms = 0;

    template <class Visitor, class Self>
    static void fields(Visitor& v, Self& m) {
        v.field("error_code", m.error);
        v.field("api_keys", m.api_keys);
        v.field("throttle_time_ms", m.throttle_time_ms, {.since = 1});
    }
    bool operator==(const api_versions_response&) const = default;
};

/// Answers an ApiVersions request of this version with all that is advertised. A version that
/// isn't served is answered too, with unsupported_version and this API's own versions in the form
/// of version 0, from which the client learns how to ask again; names that don't match KIP-511's
/// pattern are refused.
struct api_versions_answer {
    api_versions_response body;
    std::int16_t version;  ///< to encode `body` in
};
api_versions_answer answer_api_versions(const api_versions_request& request, std::int16_t version);

}  // namespace weir::broker::protocol
