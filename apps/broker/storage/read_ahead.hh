// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <optional>
#include <vector>

#include <broker/storage/recent_batches.hh>

#include <weir/core/future.hh>
#include <weir/core/shard.hh>

namespace weir::broker {

/// Where a batch lies: its first offset, and its byte in the file of a segment.
struct batch_place {
    std::int64_t offset = 0;
    std::int64_t segment_base = 0;
    std::uint64_t position = 0;
};

/// What one read of the device gave: whole batches, and where the one behind them lies.
struct disk_read {
    chunk batches;
    batch_place next;
    std::size_t first_bytes = 0;  ///< of a first batch that did not come for its size

    /// Leaves batches away from the end, so that at most `max_bytes` or one batch remain.
    void shorten(std::size_t max_bytes);
};

class read_ahead;

/// The memory that the logs of a shard may hold for what was read before anybody asked for it. Who
/// finds it full does not read ahead, unless some has lain there for so long that nobody comes.
/// thread   one shard
class read_ahead_memory {
  public:
    explicit read_ahead_memory(std::size_t limit_bytes) noexcept : _limit(limit_bytes) {}
    read_ahead_memory(const read_ahead_memory&) = delete;
    read_ahead_memory& operator=(const read_ahead_memory&) = delete;
    ~read_ahead_memory();

    std::size_t used_bytes() const noexcept { return _used; }
    std::size_t limit_bytes() const noexcept { return _limit; }

  private:
    friend class read_ahead;
    struct follower {
        read_ahead* of;
        batch_place at;
        future<disk_read> coming;  // empty: nothing was read ahead
        std::size_t bytes;         // charged for it
        instant since;
    };

    std::list<follower> _followers;  // oldest first
    std::size_t _limit;
    std::size_t _used = 0;
};

/// Remembers where the readers of one log will go on, and holds what was read for them meanwhile.
class read_ahead {
  public:
    /// What a reader left behind when it read up to here.
    struct found {
        batch_place at;
        future<disk_read> coming;  ///< empty: nothing was read ahead
    };

    /// shared   null: nothing is remembered
    /// limit    readers that are remembered; the one longest gone is forgotten first
    /// dropped  counts what was read for nothing
    read_ahead(read_ahead_memory* shared, std::size_t limit, std::uint64_t& dropped) noexcept
        : _shared(shared), _limit(limit), _dropped(dropped) {}
    read_ahead(const read_ahead&) = delete;
    read_ahead& operator=(const read_ahead&) = delete;
    ~read_ahead() { clear(); }

    bool enabled() const noexcept { return _shared != nullptr; }
    /// returns  what was left at `offset`, which is gone from here then
    std::optional<found> take(std::int64_t offset);
    /// returns  whether there is memory to read `bytes` ahead
    bool has_room(std::size_t bytes);
    /// Remembers nothing where there is no memory for it.
    /// coming   what is being read there, if anything
    /// bytes    of memory that it takes at most
    void leave(const batch_place& at, future<disk_read> coming, std::size_t bytes) noexcept;
    void clear() noexcept;

  private:
    using follower_ref = std::list<read_ahead_memory::follower>::iterator;

    void drop(follower_ref which) noexcept;

    read_ahead_memory* const _shared;
    const std::size_t _limit;
    std::vector<follower_ref> _followers;  // oldest first
    std::uint64_t& _dropped;
};

}  // namespace weir::broker
