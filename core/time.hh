// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>

namespace weir {

using duration = std::chrono::nanoseconds;

/// The clock of a shard: monotonic, read once a turn from the poller, virtual in the simulator.
/// It names a time line for std::chrono and has no now(): ask this_shard().now().
struct shard_clock {
    using duration = weir::duration;
    using rep = duration::rep;
    using period = duration::period;
    using time_point = std::chrono::time_point<shard_clock, duration>;
    static constexpr bool is_steady = true;
};

/// A point on the shard's monotonic clock, in nanoseconds from an unspecified start.
using instant = shard_clock::time_point;

/// For ever: how long something may take that has no limit.
inline constexpr duration forever = duration::max();

/// "Never": a deadline that doesn't pass, a shard with nothing to wait for.
inline constexpr instant never = instant::max();

/// A time from an instant on. It never overflows: what lies beyond the end of time is never, and so
/// is `from + forever`.
template <typename Rep, typename Period>
constexpr instant operator+(instant from, std::chrono::duration<Rep, Period> time) noexcept {
    using given = std::chrono::duration<Rep, Period>;
    if (from == never || time >= std::chrono::duration_cast<given>(duration::max())) {
        return never;
    }
    duration::rep sum = 0;
    const bool over = __builtin_add_overflow(
        from.time_since_epoch().count(), std::chrono::duration_cast<duration>(time).count(), &sum);
    return !over ? instant(duration(sum)) : time > time.zero() ? never : instant::min();
}
template <typename Rep, typename Period>
constexpr instant operator+(std::chrono::duration<Rep, Period> time, instant from) noexcept {
    return from + time;
}

/// Milliseconds since the Unix epoch: the time that records carry.
using wall_clock_ms = std::int64_t;

}  // namespace weir
