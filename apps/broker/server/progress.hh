// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string_view>
#include <unordered_map>
#include <utility>

#include <broker/storage/names.hh>

#include <weir/core/abort.hh>
#include <weir/core/future.hh>
#include <weir/core/shard.hh>

namespace weir::broker {

/// A fetch that waits for records, wherever their partitions are: the shard where it waits, and
/// its number there.
struct fetch_ticket {
    shard_id shard = 0;
    std::uint64_t number = 0;

    friend auto operator<=>(const fetch_ticket&, const fetch_ticket&) = default;
};

/// How long polls hear of new records. A waiting fetch leaves its ticket at each partition that it
/// reads, and takes it away at its end; a partition that grows calls every ticket once. Nothing
/// stays under way between shards while a fetch waits.
/// thread   one shard
class progress_board {
  public:
    // Where the fetch waits.

    fetch_ticket open_ticket() noexcept { return {this_shard().id(), ++_last_number}; }
    /// Ready when a partition called the ticket, at `deadline`, when `ended` is requested, and by
    /// hurry().
    /// returns  whether it may go on waiting, if it knows of a reason to
    future<bool> wait(fetch_ticket ticket, instant deadline, abort_source& ended);
    void called(std::uint64_t number) noexcept;
    /// Ends the waits that there are when they have lasted so long: somebody needs what they hold.
    void hurry(duration patience) noexcept;
    /// Ends every wait, for good: the broker stops.
    void end_waits() noexcept;
    bool ended() const noexcept { return _ended; }

    // Where the partition is.

    void leave_ticket(std::string_view topic, std::int32_t partition, fetch_ticket ticket);
    /// cost     logarithmic in those who wait there
    void take_ticket(std::string_view topic, std::int32_t partition, fetch_ticket ticket) noexcept;
    /// returns  the tickets left at a partition, which are gone from it then
    std::set<fetch_ticket> grown(const topic_partition& at) noexcept;

  private:
    /// So that a partition is found by the name in a request, without a copy of it.
    struct by_name {
        using is_transparent = void;
        using key = std::pair<std::string_view, std::int32_t>;

        static key of(const topic_partition& which) noexcept {
            return {which.topic, which.partition};
        }
        static key of(const key& which) noexcept { return which; }
        template <typename Left, typename Right>
        bool operator()(const Left& left, const Right& right) const noexcept {
            return of(left) < of(right);
        }
    };
    struct waiter;
    std::uint64_t _last_number = 0;
    bool _ended = false;
    std::unordered_map<std::uint64_t, waiter*> _waiters;  // by the ticket's number
    std::map<topic_partition, std::set<fetch_ticket>, by_name> _tickets;
};

}  // namespace weir::broker
