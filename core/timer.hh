// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <vector>

#include <weir/core/time.hh>

namespace weir {

/// Something that is due at a time. Firing must not run user code: it makes a task ready.
/// thread   the shard it was armed on
class timer {
  public:
    timer() = default;
    timer(const timer&) = delete;
    timer& operator=(const timer&) = delete;

    /// Fires at the first turn at or after `due`; moves the time if it is armed already.
    /// cost     O(log armed timers), no allocation after warm-up
    void arm(instant due);
    /// returns  whether it was armed
    bool cancel() noexcept;
    bool armed() const noexcept { return _place != unarmed; }
    instant due() const noexcept { return _due; }

  protected:
    ~timer() { cancel(); }
    virtual void fire() noexcept = 0;

  private:
    friend class timer_heap;
    static constexpr std::size_t unarmed = static_cast<std::size_t>(-1);

    instant _due{};
    std::size_t _place = unarmed;
};

/// The armed timers of a shard: a binary heap that knows where each timer is. Timers due at the
/// same instant fire in no order.
class timer_heap {
  public:
    /// Has room for the first few: most shards never arm more.
    timer_heap() { _heap.reserve(64); }

    instant next_due() const noexcept { return _heap.empty() ? never : _heap.front()->_due; }
    std::size_t size() const noexcept { return _heap.size(); }

    void arm(timer& added, instant due);
    void cancel(timer& removed) noexcept;
    /// Fires all that are due at `now`. returns how many.
    std::size_t expire(instant now) noexcept;

  private:
    void place(timer& moved, std::size_t at) noexcept;
    void sift_up(std::size_t at) noexcept;
    void sift_down(std::size_t at) noexcept;

    std::vector<timer*> _heap;
};

}  // namespace weir
