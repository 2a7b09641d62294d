// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace weir::broker {

/// A partition of a topic.
struct topic_partition {
    std::string topic;
    std::int32_t partition = 0;

    friend auto operator<=>(const topic_partition&, const topic_partition&) = default;
};

/// Kafka's rule: 1 to 249 of letters, digits, '.', '_' and '-', and neither "." nor "..".
bool is_topic_name(std::string_view name) noexcept;

/// "topic-3": the partition's directory.
std::string directory_name(const topic_partition& of);
/// returns  null for what is no partition's directory: the last '-' divides, the number has no
///          leading zeros
std::optional<topic_partition> partition_of_directory(std::string_view name);

/// Of a data directory: who has it, whose it is, and what must be in it.
inline constexpr std::string_view lock_name = ".lock";
inline constexpr std::string_view meta_name = "meta.properties";
inline constexpr std::string_view topics_name = "topics";
/// And what a start tries the file system with.
inline constexpr std::string_view probe_name = "probe";

/// The files of a segment: 20 digits of its first offset, and what they hold.
inline constexpr std::string_view log_suffix = ".log";
inline constexpr std::string_view index_suffix = ".index";
inline constexpr std::string_view time_index_suffix = ".timeindex";
/// Beside an open segment, in tail_copy mode only.
inline constexpr std::string_view tail_copy_suffix = ".tail";
/// Of a partition: what it has acknowledged.
inline constexpr std::string_view mark_name = "acknowledged";
/// A file that is being written, to be renamed when it is whole; left over after a crash.
inline constexpr std::string_view unfinished_suffix = ".unfinished";

std::string segment_path(std::string_view directory, std::int64_t base_offset,
                         std::string_view suffix);
/// returns  the first offset of a segment from the name of its file with that suffix, else null
std::optional<std::int64_t> segment_of_file(std::string_view name, std::string_view suffix);
/// Whether a file is one that this program was writing: of others nothing is touched.
bool is_unfinished(std::string_view name) noexcept;

}  // namespace weir::broker
