// SPDX-License-Identifier: Apache-2.0
#include <broker/storage/names.hh>

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

namespace weir::broker {

namespace {

constexpr std::size_t longest_topic = 249;
constexpr std::size_t offset_digits = 20;

template <typename Integer>
std::optional<Integer> parse_whole(std::string_view digits) {
    Integer value = 0;
    const auto [end, failed] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (digits.empty() || failed != std::errc{} || end != digits.data() + digits.size() ||
        value < 0 || digits.front() == '-') {
        return std::nullopt;
    }
    return value;
}

}  // namespace

bool is_topic_name(std::string_view name) noexcept {
    const auto allowed = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '.' || c == '_' || c == '-';
    };
    return !name.empty() && name.size() <= longest_topic && name != "." && name != ".." &&
           std::all_of(name.begin(), name.end(), allowed);
}

std::string directory_name(const topic_partition& of) {
    return fmt::format("{}-{}", of.topic, of.partition);
}

std::optional<topic_partition> partition_of_directory(std::string_view name) {
    const std::size_t dash = name.rfind('-');
    if (dash == std::string_view::npos || !is_topic_name(name.substr(0, dash))) {
        return std::nullopt;
    }
    const std::string_view number = name.substr(dash + 1);
    const auto partition = parse_whole<std::int32_t>(number);
    if (!partition || (number.size() > 1 && number.front() == '0')) {
        return std::nullopt;
    }
    return topic_partition{std::string(name.substr(0, dash)), *partition};
}

std::string segment_path(std::string_view directory, std::int64_t base_offset,
                         std::string_view suffix) {
    return fmt::format("{}/{:020}{}", directory, base_offset, suffix);
}

std::optional<std::int64_t> segment_of_file(std::string_view name, std::string_view suffix) {
    if (name.size() != offset_digits + suffix.size() || !name.ends_with(suffix)) {
        return std::nullopt;
    }
    return parse_whole<std::int64_t>(name.substr(0, offset_digits));
}

bool is_unfinished(std::string_view name) noexcept {
    if (!name.ends_with(unfinished_suffix)) {
        return false;
    }
    name.remove_suffix(unfinished_suffix.size());
    const auto is_of_a_segment = [name](std::string_view suffix) {
        return segment_of_file(name, suffix).has_value();
    };
    return name == meta_name || name == topics_name || name == probe_name || name == mark_name ||
           is_of_a_segment(log_suffix) || is_of_a_segment(index_suffix) ||
           is_of_a_segment(time_index_suffix);
}

}  // namespace weir::broker
