// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string_view>

namespace weir::net {

/// What a request asks for, as views into its target.
struct http_target {
    std::string_view path;   ///< up to '?'
    std::string_view query;  ///< what follows it
};

/// Takes a target apart: "/path?query", or a whole address, whose host we don't tell apart.
/// returns  nothing if it is neither
/// source   RFC 9112 3.2
std::optional<http_target> split_target(std::string_view method, std::string_view target) noexcept;
/// Whether it is a host, which may be empty, and perhaps ":port".
/// source   RFC 3986 3.2.2
bool is_host(std::string_view text) noexcept;
bool equal_in_any_case(std::string_view left, std::string_view right) noexcept;

}  // namespace weir::net
