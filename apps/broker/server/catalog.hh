// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include <weir/core/shard.hh>

namespace weir::broker {

/// The topics there are. Every shard has a copy, so that looking one up needs no call; shard 0
/// alone decides, and tells the others.
class catalog {
  public:
    /// returns  how many partitions the topic has, none if there is no such topic
    std::optional<std::int32_t> find(std::string_view topic) const {
        const auto found = _topics.find(topic);
        return found == _topics.end() ? std::nullopt : std::optional(found->second);
    }
    bool has(std::string_view topic, std::int32_t partition) const {
        return partition >= 0 && partition < find(topic).value_or(0);
    }
    void add(std::string topic, std::int32_t partitions) {
        if (_topics.emplace(std::move(topic), partitions).second) {
            _partitions += partitions;
        }
    }
    const std::map<std::string, std::int32_t, std::less<>>& topics() const noexcept {
        return _topics;
    }
    std::int64_t partitions() const noexcept { return _partitions; }

  private:
    std::map<std::string, std::int32_t, std::less<>> _topics;  // name, partitions
    std::int64_t _partitions = 0;
};

/// The shard that a partition belongs to: those of a topic go round all shards, beginning where
/// its name says. The number of shards may change from one start to the next.
inline shard_id owner_of(std::string_view topic, std::int32_t partition, unsigned shards) noexcept {
    std::uint64_t hash = 14695981039346656037ULL;  // FNV-1a
    for (const char letter : topic) {
        hash = (hash ^ static_cast<unsigned char>(letter)) * 1099511628211ULL;
    }
    return static_cast<shard_id>((hash + static_cast<std::uint64_t>(partition)) % shards);
}

}  // namespace weir::broker
