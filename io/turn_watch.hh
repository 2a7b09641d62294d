// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include <weir/core/host.hh>
#include <weir/core/log.hh>
#include <weir/core/metrics.hh>

namespace weir::io {

/// Tells at once of a shard whose turn sleeps in the kernel, where nothing on a shard may: which
/// shard, group, task and system call, and the calls that led there. A thread looks at the shards
/// twice a threshold; while no shard turns it sleeps too. The shard isn't touched: a signal would
/// end the very call that it waits in.
class turn_watch {
  public:
    /// A shard's side.
    /// thread   the shard's
    class seat;

    /// fails    weir::error when there is no thread or descriptor for it
    turn_watch(host& owner, duration threshold);
    turn_watch(const turn_watch&) = delete;
    turn_watch& operator=(const turn_watch&) = delete;
    /// Every seat must have gone.
    ~turn_watch();

  private:
    void look_until_end() noexcept;
    bool look(seat& at) noexcept;
    void tell(seat& at, duration waited);
    void wake() noexcept;

    const duration _threshold;
    logger _log;
    int _event = -1;
    std::atomic<bool> _asleep = false;
    std::atomic<bool> _ended = false;
    std::mutex _lock;
    std::vector<seat*> _seats;  // under the lock
    std::thread _thread;
};

class turn_watch::seat {
  public:
    seat(turn_watch& watch, shard& watched);
    seat(const seat&) = delete;
    seat& operator=(const seat&) = delete;
    ~seat();

    /// Before a turn.
    /// cost     two loads and a store
    void begin() noexcept {
        _count.store(_count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
        // Relaxed: see look_until_end() for a watch that falls asleep in this moment.
        if (_watch._asleep.load(std::memory_order_relaxed)) [[unlikely]] {
            _watch.wake();
        }
    }
    /// After it: says how long it took if it was told of.
    void end() noexcept {
        const std::uint64_t turn = _count.load(std::memory_order_relaxed);
        _count.store(turn + 1, std::memory_order_relaxed);
        if (_told.load(std::memory_order_relaxed) != _told_before) [[unlikely]] {
            report_end(turn);
        }
    }

  private:
    friend class turn_watch;
    void report_end(std::uint64_t turn) noexcept;

    turn_watch& _watch;
    shard& _watched;
    const int _thread;
    std::atomic<std::uint64_t> _count = 0;  // odd during a turn
    std::atomic<std::uint64_t> _told = 0;   // the count of the turn that was told of last
    std::uint64_t _told_before = 0;         // and ended
    std::uint64_t _waits = 0;
    metrics::registration _metric;
    // The watch's own:
    std::uint64_t _seen = 0;
    instant _since{};
    bool _seen_told = false;
};

}  // namespace weir::io
