// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <unordered_map>
#include <vector>

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

    friend bool operator==(fetch_ticket, fetch_ticket) = default;
};

/// How long polls hear of new records. A waiting fetch leaves its ticket at each partition that it
/// reads, and takes it away at its end; a partition that grows calls every ticket once. Nothing
/// stays under way between shards while a fetch waits.
/// thread   one shard
class progress_board {
  public:
    // Where the fetch waits.

    fetch_ticket open_ticket() noexcept { return {this_shard().id(), ++_last_number}; }
    /// Ready when a partition called the ticket, at `deadline`, or when `ended` is requested.
    future<> wait(fetch_ticket ticket, instant deadline, abort_source& ended);
    void called(std::uint64_t number) noexcept;
    /// Ends every wait, for good: the broker stops.
    void end_waits() noexcept;
    bool ended() const noexcept { return _ended; }

    // Where the partition is.

    void leave_ticket(const topic_partition& at, fetch_ticket ticket) {
        _tickets[at].push_back(ticket);
    }
    void take_ticket(const topic_partition& at, fetch_ticket ticket) noexcept;
    /// returns  the tickets left at a partition, which are gone from it then
    std::vector<fetch_ticket> grown(const topic_partition& at);
    bool watched(const topic_partition& at) const { return _tickets.contains(at); }

  private:
    struct waiter;
    std::uint64_t _last_number = 0;
    bool _ended = false;
    std::unordered_map<std::uint64_t, waiter*> _waiters;  // by the ticket's number
    std::map<topic_partition, std::vector<fetch_ticket>> _tickets;
};

}  // namespace weir::broker
