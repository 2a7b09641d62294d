// SPDX-License-Identifier: Apache-2.0
#include <broker/storage/topics_file.hh>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <map>
#include <set>

#include <broker/protocol/batch.hh>
#include <broker/storage/names.hh>
#include <broker/storage/segment.hh>
#include <fmt/format.h>

#include <weir/core/coroutine.hh>
#include <weir/core/log.hh>

namespace weir::broker {

namespace {

constexpr std::string_view title = "weir-topics";
constexpr std::string_view our_version = "1";
constexpr std::size_t largest_file = std::size_t{64} << 20;

error not_whole(const std::string& path, std::string_view why) {
    return {"read", fmt::format("{} ({})", path, why), errc::corrupt};
}

std::string_view take_until(std::string_view& text, char end) {
    const std::string_view taken = text.substr(0, text.find(end));
    text.remove_prefix(std::min(text.size(), taken.size() + 1));
    return taken;
}

std::uint32_t checksum_of(std::string_view text) {
    return protocol::crc32c(std::as_bytes(std::span(text)));
}

template <typename Number>
std::optional<Number> number_of(std::string_view text, int base = 10) {
    Number value = 0;
    const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    return failed == std::errc{} && end == text.data() + text.size() ? std::optional(value)
                                                                     : std::nullopt;
}

/// What a name like a partition's stands for.
enum class kind : std::uint8_t {
    file,     ///< no directory
    foreign,  ///< files of others alone
    empty,    ///< nothing, or what a log has before its first record
    records,
};

/// fails    as the look does: what can't be looked into may be anything
future<kind> look_into(std::string path) {
    std::vector<std::string> names;
    try {
        names = co_await io::list_directory(path);
    } catch (const error& e) {
        if (!e.is_errno(ENOTDIR)) {
            throw;
        }
        co_return kind::file;
    }
    const auto has_records = [](const std::string& name) {
        return segment_of_file(name, log_suffix).has_value();
    };
    if (std::ranges::any_of(names, has_records)) {
        co_return kind::records;
    }
    const auto is_a_logs = [](const std::string& name) {
        return name == mark_name || is_unfinished(name) || segment_of_file(name, index_suffix) ||
               segment_of_file(name, time_index_suffix) || segment_of_file(name, tail_copy_suffix);
    };
    co_return std::ranges::all_of(names, is_a_logs) ? kind::empty : kind::foreign;
}

bool is_the_brokers(std::string_view name) {
    return name == lock_name || name == meta_name || name == topics_name || name == "lost+found" ||
           is_unfinished(name);
}

using partition_kinds = std::map<std::int32_t, kind>;

/// How many partitions a topic has; 0: these are none of one. Records prove them, and so does it
/// that all are there: they came into being before anybody was told of them.
/// fails    throws errc::corrupt where that can't be told
std::int32_t count_partitions(const std::string& path, const partition_kinds& found) {
    std::int32_t count = 0;
    bool used = false;
    for (const auto& [index, holds] : found) {
        if (holds != kind::foreign) {
            count = index + 1;
            used = used || holds == kind::records;
        }
    }
    const std::int32_t last = found.rbegin()->first;
    const bool whole = found.size() == static_cast<std::size_t>(last) + 1;
    if (count == 0 || (!used && !whole)) {
        return 0;
    }
    if (last >= count) {
        throw error("adopt",
                    fmt::format("{}-{} (a partition without its files, or a directory of somebody "
                                "else's: put the files back, or move it away)",
                                path, last),
                    errc::corrupt);
    }
    return count;
}

}  // namespace

std::string encode_topics(std::span<const topic_entry> topics) {
    std::string text = fmt::format("{} {}\n", title, our_version);
    for (const topic_entry& each : topics) {
        text += fmt::format("{} {} {}\n", to_text(each.id), each.partitions, each.name);
    }
    text += fmt::format("end {:08x}\n", checksum_of(text));
    return text;
}

std::vector<topic_entry> decode_topics(std::string_view text, const std::string& path) {
    std::string_view rest = text;
    std::string_view head = take_until(rest, '\n');
    if (take_until(head, ' ') != title) {
        throw not_whole(path, "no list of topics");
    }
    if (head != our_version) {
        throw not_whole(path, "of a version that this program does not know");
    }
    std::vector<topic_entry> topics;
    std::set<std::string, std::less<>> names;
    std::int64_t partitions = 0;
    for (;;) {
        const std::string_view before = text.substr(0, text.size() - rest.size());
        std::string_view line = take_until(rest, '\n');
        if (line.starts_with("end ")) {
            if (number_of<std::uint32_t>(line.substr(4), 16) != checksum_of(before) ||
                !rest.empty() || !text.ends_with('\n')) {
                throw not_whole(path, "its checksum does not match");
            }
            return topics;
        }
        const auto id = uuid_of(take_until(line, ' '));
        const auto count = number_of<std::int32_t>(take_until(line, ' '));
        partitions += count.value_or(0);
        if (!id || !count || *count < 1 || partitions > listed_partitions_max ||
            !is_topic_name(line) || !names.emplace(line).second) {
            throw not_whole(path, fmt::format("entry {}", topics.size() + 1));
        }
        topics.push_back({std::string(line), *id, *count});
    }
}

future<std::optional<std::vector<topic_entry>>> read_topics(std::string directory) {
    const std::string path = fmt::format("{}/{}", directory, topics_name);
    if (!co_await io::exists(path)) {
        co_return std::nullopt;
    }
    const std::vector<std::byte> bytes = co_await read_small_file(path, largest_file);
    co_return decode_topics({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path);
}

future<> write_topics(std::string directory, std::span<const topic_entry> topics) {
    const std::string path = fmt::format("{}/{}", directory, topics_name);
    std::int64_t partitions = 0;
    for (const topic_entry& each : topics) {
        partitions += each.partitions;
    }
    const std::string text = encode_topics(topics);
    if (partitions > listed_partitions_max || text.size() > largest_file) {
        throw error("write", path + " (more topics than a start would read)", errc::limit_exceeded);
    }
    std::vector<std::byte> bytes(text.size());
    std::memcpy(bytes.data(), text.data(), text.size());
    co_await replace_file(path, std::move(bytes));
    co_await io::sync_directory(directory);
}

future<found_topics> find_topics(std::string directory, std::int32_t partitions_max) {
    found_topics found;
    std::map<std::string, partition_kinds> by_topic;
    for (const std::string& name : co_await io::list_directory(directory)) {
        const auto which = partition_of_directory(name);
        if (!which) {
            continue;
        }
        const std::string path = fmt::format("{}/{}", directory, name);
        const kind holds = co_await look_into(path);
        const bool too_large = which->partition >= partitions_max;
        if (too_large && holds == kind::records) {
            throw error("adopt", path + " (it has records, and partitions_max allows fewer)",
                        errc::limit_exceeded);
        }
        if (too_large || holds == kind::file) {
            found.strays.push_back(name);
        } else {
            by_topic[which->topic][which->partition] = holds;
        }
        co_await maybe_yield();
    }
    std::int64_t sum = 0;
    for (const auto& [topic, partitions] : by_topic) {
        const std::int32_t count =
            count_partitions(fmt::format("{}/{}", directory, topic), partitions);
        sum += count;
        if (sum > listed_partitions_max) {
            throw error("adopt",
                        directory + " (its names claim more partitions than a start would read)",
                        errc::limit_exceeded);
        }
        if (count == 0) {
            for (const auto& each : partitions) {
                found.strays.push_back(directory_name({topic, each.first}));
            }
            continue;
        }
        found.topics.push_back({topic, random_uuid(), count});
        for (std::int32_t index = 0; index < count; ++index) {
            if (!partitions.contains(index)) {
                found.missing.push_back(directory_name({topic, index}));
            }
        }
    }
    co_return found;
}

future<std::vector<std::string>> find_strays(std::string directory,
                                             std::span<const topic_entry> topics) {
    std::map<std::string_view, std::int32_t> known;
    for (const topic_entry& each : topics) {
        known.emplace(each.name, each.partitions);
    }
    std::vector<std::string> strays;
    for (const std::string& name : co_await io::list_directory(directory)) {
        const auto which = partition_of_directory(name);
        const auto topic = which ? known.find(which->topic) : known.end();
        const bool listed = topic != known.end() && which->partition < topic->second;
        if (!listed && !is_the_brokers(name)) {
            strays.push_back(name);
        }
    }
    std::sort(strays.begin(), strays.end());
    co_return strays;
}

namespace {

/// A line for each of the first few.
void tell_of(const char* what, const std::vector<std::string>& names) {
    constexpr std::size_t most_lines = 16;
    shard& here = this_shard();
    for (std::size_t i = 0; i < std::min(names.size(), most_lines); ++i) {
        here.log().write(here.log_context(), log_level::warning, what,
                         {{"name", names[i]}, {"of", names.size()}});
    }
}

}  // namespace

future<std::vector<topic_entry>> learn_topics(std::string directory, std::int32_t partitions_max) {
    auto listed = co_await read_topics(directory);
    if (!listed) {
        found_topics found = co_await find_topics(directory, partitions_max);
        co_await write_topics(directory, found.topics);
        tell_of("partition without a directory", found.missing);
        listed = std::move(found.topics);
    }
    tell_of("belongs to no topic, left as it is", co_await find_strays(directory, *listed));
    co_return std::move(*listed);
}

}  // namespace weir::broker
