// SPDX-License-Identifier: Apache-2.0
#include <weir/net/http_target.hh>

#include <algorithm>

namespace weir::net {

namespace {

bool is_digit(char c) noexcept {
    return c >= '0' && c <= '9';
}

bool is_hex(char c) noexcept {
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

bool is_name_character(char c) noexcept {
    constexpr std::string_view others = "-._~!$&'()*+,;=%";
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           others.find(c) != std::string_view::npos;
}

bool is_port(std::string_view text) noexcept {
    return text.size() <= 5 && std::ranges::all_of(text, is_digit);
}

// A percent sign stands before two hexadecimal digits.
bool is_escaped_well(std::string_view text) noexcept {
    for (std::size_t at = 0; (at = text.find('%', at)) != std::string_view::npos; ++at) {
        if (text.size() - at < 3 || !is_hex(text[at + 1]) || !is_hex(text[at + 2])) {
            return false;
        }
    }
    return true;
}

// The path of an address may be empty, and its query follows at once.
http_target split_path(std::string_view path) noexcept {
    const std::size_t mark = path.find('?');
    return {path.substr(0, mark),
            mark == std::string_view::npos ? std::string_view() : path.substr(mark + 1)};
}

}  // namespace

bool equal_in_any_case(std::string_view left, std::string_view right) noexcept {
    return std::ranges::equal(left, right, [](char a, char b) {
        return (a >= 'A' && a <= 'Z' ? a + 32 : a) == (b >= 'A' && b <= 'Z' ? b + 32 : b);
    });
}

bool is_host(std::string_view text) noexcept {
    if (text.starts_with('[')) {
        const std::size_t end = text.find(']');
        if (end == std::string_view::npos || end < 3) {
            return false;
        }
        const bool written_well = std::ranges::all_of(
            text.substr(1, end - 1), [](char c) { return is_name_character(c) || c == ':'; });
        const std::string_view rest = text.substr(end + 1);
        return written_well && (rest.empty() || (rest[0] == ':' && is_port(rest.substr(1))));
    }
    const std::size_t colon = text.find(':');
    const std::string_view name = text.substr(0, colon);
    return std::ranges::all_of(name, is_name_character) && is_escaped_well(name) &&
           (colon == std::string_view::npos || is_port(text.substr(colon + 1)));
}

std::optional<http_target> split_target(std::string_view method, std::string_view target) noexcept {
    // Of a tunnel, and of the server as a whole: they have no path, and nobody serves them.
    if (method == "CONNECT" || (method == "OPTIONS" && target == "*")) {
        return http_target{target, {}};
    }
    if (target.find('#') != std::string_view::npos) {
        return std::nullopt;
    }
    if (target.starts_with('/')) {
        return split_path(target);
    }
    const std::size_t end = target.find("://");
    const std::string_view scheme = target.substr(0, end);
    if (end == std::string_view::npos ||
        !(equal_in_any_case(scheme, "http") || equal_in_any_case(scheme, "https"))) {
        return std::nullopt;
    }
    const std::string_view rest = target.substr(end + 3);
    const std::size_t length = std::min(rest.find_first_of("/?"), rest.size());
    const std::string_view host = rest.substr(0, length);
    if (host.empty() || host.starts_with(':') || !is_host(host)) {
        return std::nullopt;
    }
    http_target result = split_path(rest.substr(length));
    if (result.path.empty()) {
        result.path = "/";
    }
    return result;
}

}  // namespace weir::net
