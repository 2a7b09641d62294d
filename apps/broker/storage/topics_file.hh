// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <broker/storage/uuid.hh>

#include <weir/core/future.hh>

namespace weir::broker {

/// A topic that must be there, with all of its partitions.
struct topic_entry {
    std::string name;
    uuid id;
    std::int32_t partitions = 0;

    friend bool operator==(const topic_entry&, const topic_entry&) = default;
};

/// A list of more is neither written nor believed: what a start holds must fit in memory.
inline constexpr std::int64_t listed_partitions_max = 1'000'000;

/// Says what must be in a data directory: what it lists and is not there was lost, and what is
/// there and not listed is no topic. README.md here has its text.
/// returns  null if there is no such file
/// fails    errc::corrupt if it is not whole, or of a newer format
future<std::optional<std::vector<topic_entry>>> read_topics(std::string directory);
/// Replaces the file, durably: after a crash it is the old one or the new one.
/// fails    errc::limit_exceeded for a list that read_topics() would refuse
future<> write_topics(std::string directory, std::span<const topic_entry> topics);

/// What the directories of a program that had no such file say.
struct found_topics {
    std::vector<topic_entry> topics;   ///< with new ids
    std::vector<std::string> strays;   ///< names that look like a partition's and prove nothing
    std::vector<std::string> missing;  ///< partitions of `topics` without a directory
};
/// Looks at the names, and into the directories: a topic is what has records, or all of its
/// partitions' directories, which came into being before anybody was told of it.
/// partitions_max  of the whole broker: a larger number in a name is not believed
/// fails    as a look into a directory does, for want or for lack of rights; errc::corrupt or
///          errc::limit_exceeded, naming it, where one may be a partition or somebody else's
/// cost     lists each partition's directory
future<found_topics> find_topics(std::string directory, std::int32_t partitions_max);

/// What must be in a data directory. One of a program that had no list gets one from what its
/// directories prove, in one step: a start that is cut short does it again. What is lost, and what
/// belongs to no topic, is said and left as it is.
/// fails    as read_topics(), and as find_topics() where there is no list
future<std::vector<topic_entry>> learn_topics(std::string directory, std::int32_t partitions_max);

/// The names in a data directory that belong to none of these topics, nor to the broker.
future<std::vector<std::string>> find_strays(std::string directory,
                                             std::span<const topic_entry> topics);

/// The contents of the file, and back; for tests, too.
std::string encode_topics(std::span<const topic_entry> topics);
/// fails    throws errc::corrupt, naming `path`
std::vector<topic_entry> decode_topics(std::string_view text, const std::string& path);

}  // namespace weir::broker
