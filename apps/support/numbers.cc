// SPDX-License-Identifier: Apache-2.0
#include <support/numbers.hh>

#include <charconv>
#include <cmath>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace apps {

namespace {

template <typename T>
std::optional<T> number(std::string_view text) {
    T value{};
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool good = failure == std::errc() && end == text.data() + text.size();
    return good ? std::optional(value) : std::nullopt;
}

/// Of any size, as far as the type goes.
template <typename T>
std::string judge_any(std::string& text) {
    const auto value = number<T>(text);
    if constexpr (std::is_floating_point_v<T>) {
        return value && std::isfinite(*value) ? "" : fmt::format("'{}' is not a number", text);
    }
    return value ? "" : fmt::format("'{}' is not a whole number", text);
}

/// What is wrong with a text; empty: nothing.
std::string judge(const std::string& text, std::uint64_t least, std::uint64_t most) {
    const auto value = number<std::uint64_t>(text);
    if (value && *value >= least && *value <= most) {
        return "";
    }
    return fmt::format("'{}' is not a whole number from {} to {}", text, least, most);
}

}  // namespace

void between(CLI::Option& option, std::uint64_t least, std::uint64_t most) {
    option.check(
        CLI::Validator([least, most](std::string& text) { return judge(text, least, most); },
                       fmt::format("{} to {}", least, most)));
}

void check_numbers(CLI::App& of) {
    for (CLI::Option* const each : of.get_options()) {
        const std::string type = each->get_type_name();
        if (type.starts_with("UINT")) {
            each->check(CLI::Validator(judge_any<std::uint64_t>, ""));
        } else if (type.starts_with("INT")) {
            each->check(CLI::Validator(judge_any<std::int64_t>, ""));
        } else if (type.starts_with("FLOAT")) {
            each->check(CLI::Validator(judge_any<double>, ""));
        }
    }
    for (CLI::App* const each : of.get_subcommands({})) {
        check_numbers(*each);
    }
}

}  // namespace apps
