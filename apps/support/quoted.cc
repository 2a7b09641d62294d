// SPDX-License-Identifier: Apache-2.0
#include <support/quoted.hh>

#include <algorithm>
#include <cstddef>

#include <fmt/format.h>

namespace apps {

namespace {

constexpr std::string_view special = " !\"$&'()*:;<=>?[\\^`|";
// Within double quotes these mean themselves, for a shell and for C.
constexpr std::string_view plain = " %'+,-./:]_";

bool is_letter_or_digit(char c) noexcept {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/// How many bytes the character at the front of `text` has; 0 if it can't be seen, or is no UTF-8.
std::size_t visible_bytes(std::string_view text) noexcept {
    const auto first = static_cast<unsigned char>(text[0]);
    if (first < 0x80) {
        return first >= 0x20 && first != 0x7f ? 1 : 0;
    }
    const std::size_t count = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || text.size() < count) {
        return 0;
    }
    unsigned point = first & (0xffU >> (count + 1));
    for (std::size_t i = 1; i < count; ++i) {
        const auto next = static_cast<unsigned char>(text[i]);
        if ((next & 0xc0U) != 0x80) {
            return 0;
        }
        point = point << 6U | (next & 0x3fU);
    }
    constexpr unsigned least[] = {0, 0, 0xa0, 0x800, 0x10000};
    const bool surrogate = point >= 0xd800 && point < 0xe000;
    return point < least[count] || point > 0x10ffff || surrogate ? 0 : count;
}

std::string escaped(char c) {
    constexpr std::string_view named = "\a\b\t\n\v\f\r";
    constexpr std::string_view names = "abtnvfr";
    const std::size_t at = named.find(c);
    return at != std::string_view::npos ? fmt::format("\\{}", names[at])
                                        : fmt::format("\\{:03o}", static_cast<unsigned char>(c));
}

bool needs_quotes(std::string_view name) noexcept {
    if (name.empty() || name[0] == '#' || name[0] == '~' || name == "{" || name == "}" ||
        name.find_first_of(special) != std::string_view::npos) {
        return true;
    }
    for (std::size_t bytes; !name.empty(); name.remove_prefix(bytes)) {
        bytes = visible_bytes(name);
        if (bytes == 0) {
            return true;
        }
    }
    return false;
}

}  // namespace

std::string quoted(std::string_view name) {
    if (!needs_quotes(name)) {
        return std::string(name);
    }
    const bool leads = name.starts_with('#') || name.starts_with('~');
    const bool is_plain = std::ranges::all_of(name.substr(leads ? 1 : 0), [](char c) {
        return is_letter_or_digit(c) || plain.find(c) != std::string_view::npos;
    });
    if (is_plain && name.find('\'') != std::string_view::npos) {
        return fmt::format("\"{}\"", name);
    }
    std::string text = "'";
    bool escaping = false;
    while (!name.empty()) {
        const std::size_t bytes = visible_bytes(name);
        if ((bytes == 0) != escaping) {
            text += escaping ? "''" : "'$'";
            escaping = !escaping;
        }
        if (bytes == 0) {
            text += escaped(name[0]);
        } else if (name[0] == '\'') {
            text += "'\\''";
        } else {
            text += name.substr(0, bytes);
        }
        name.remove_prefix(std::max<std::size_t>(bytes, 1));
    }
    return text + "'";
}

}  // namespace apps
